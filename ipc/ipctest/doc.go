// Package ipctest is the conformance suite of package ipc, as data: Tests says
// what must hold of a client and a server, whatever memory lies between them.
//
// A System is one server with its sessions. Heap runs it over ordinary memory in
// one process, where the race detector sees both sides; Process runs the server
// in a process of its own over sealed memory files, and kills it with SIGKILL.
// Both start a successor when their server dies.
package ipctest
