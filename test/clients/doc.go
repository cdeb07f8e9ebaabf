// Package clients runs clients and servers made by others, unchanged, over stacks of
// network/client, while the network server dies again and again: net/http, gRPC, and
// a client of Redis with a real server behind a gateway.
//
// It is a module of its own, so that what the tests need is no dependency of Quintet.
package clients
