// Package ipc carries requests between two processes through wait-free slots in
// shared memory, and enters the kernel only to sleep and to wake.
//
// # A session
//
// A session is one client connected to one server. It consists of two segments
// of memory, each written by one side only and mapped read-only by the other:
//
//	client segment            server segment
//	  request records           reply records
//	  submit bits               done bits
//	  sleep word                sleep epoch, bell, generation, state
//	  ring indices, out rings   ring indices, in rings, attempt words
//
// Slot i is in flight exactly while request[i].seq != reply[i].seq. A client
// submits by writing the record, publishing seq and toggling bit i of the submit
// bits; the bit of a slot is therefore the parity of its sequence number, and
// the server finds work by comparing one cache line with its own copy of it.
// Replies go back the same way.
//
// # Invariants
//
//   - Only the owner of a slot changes its record, its seq and its bit: the
//     client while the slot is not in flight, the server while it is.
//   - reply.seq is equal to request.seq or one less. Anything else is a protocol
//     violation and ends the session.
//   - The server's copy of the submit bits holds the parity of the last request
//     taken, by whatever path. It changes on taking and only then.
//   - Nothing that a server needs to go on is kept in its own memory: Attach
//     finds all of it in the two segments, so a successor continues where a dead
//     server stopped, whichever write was its last. The same holds of a client that is
//     a Requester, and of both.
//   - What was in flight at Attach stays so until it is taken: a client that puts its
//     sequence number back violates the protocol.
//   - A session is of one set at most, and in one state there: looked at, asleep,
//     or held by its core. Removal ends it: it reaches no memory any more.
//   - A session is kept awake by what its core would take and by nothing else. What a
//     core never takes is ignored, for ever; see Takes.
//   - A wake-up is a hint. It may come too often, never too seldom: whoever
//     publishes looks at the other side's sleep word after a full fence, and
//     whoever goes to sleep announces it, with a full fence, before the last look.
//
// # Bounds
//
// Between the two processes every operation is wait-free, whatever the other
// side does. The bounds, in accesses to shared memory:
//
//	submit            11: record 7, seq 1, bit 1, sleep epoch 1, doorbell at most 1
//	next request      10 when there is one under the hot slot or the first bit;
//	                  at most SlotsMax + 8 in all when a hostile client sets every bit
//	begin, execute, park 1 each
//	reply             11: record 7, seq 1, bit 1, sleep word 1, bell at most 1
//	look for a reply   1
//	ring push or pop   5 a descriptor, plus 2 a batch
//	attach            10 a slot, once in the life of a server
//
// Inside one client process, claiming a slot is lock-free among its goroutines
// (a compare-and-swap per attempt), and a caller blocks while no slot is free.
//
// # Locks
//
// A Session, a Sessions, a Requester, and either end of a ring belong to one goroutine
// and have no locks. A Client may be used by any number of goroutines. Its slot
// claims and replies use atomics; slotQueue.mu guards the queue of those who find
// no slot, waiter.mu the membership of a waiter. Both are leaves: nothing is
// locked under them. Only waiters.mu is taken before a waiter.mu.
//
// # Trust
//
// Neither side trusts the other. A peer may write anything into its own segment
// at any time: records are copied once and the copy is used; sequence numbers,
// indices and lengths are checked; all loops over a peer's data have a static
// bound. A violation ends that session with a named reason (see ErrSession), and
// a server goes on with the others. Segments must have been opened by package
// shm, which refuses memory that the peer could truncate.
//
// The Go memory model speaks of one program. Across processes this package
// relies on the coherence of the hardware: publication is a store-release, and
// the two Dekker-style handshakes of sleeping go through atomic read-modify-write
// operations or sequentially consistent stores, which are full fences.
// Package ipc/model checks these protocols with SPIN.
package ipc
