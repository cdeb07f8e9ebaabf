// Package dns answers DNS queries (RFC 1035) with the names of a network's domains,
// and passes the others on to resolvers.
//
// It is used where names are needed without a server of their own: behind the
// net.Resolver of an application's stack, in process, and at port 53 of the gateway of
// a network, for programs that know nothing of Quintet.
//
// # Invariants
//
//   - A name that is the network's own is never asked for outside, whatever the type and
//     whether or not there is anybody of it.
//   - Nothing is cached: domains come and go, and answers are valid for ttlSeconds.
//   - Whatever is asked, an answer repeats its id and is bounded in size: 64 KiB on a
//     stream, what the asker takes in a datagram.
//   - A resolver's answer is passed on only if it is one to the query that was sent.
//
// # Trust
//
// Neither those who ask nor the resolvers are trusted: queries and answers are what a
// hostile network might have sent. The answer of a resolver is not looked into beyond
// its question; that is for the asker to do.
//
// # Locks
//
// There are none; an Answerer may be used from any goroutine.
package dns
