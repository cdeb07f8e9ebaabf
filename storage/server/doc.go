// Package server is the storage server: a step machine that takes requests from
// sessions, checks them, and has devices carry them out straight between the
// device and the client's region.
//
// # Exactly once
//
// A killed server leaves requests that were executed but not answered, and its
// successor executes them again. No caller can tell, because of the overlap
// guard: of two requests on one volume that touch a common byte, one of them
// changing it, the later is not started before the earlier has been answered.
// So nobody has seen, and nobody has overwritten, what an unanswered request
// wrote; writing it once more changes nothing that anybody knows of. Two things
// must hold besides:
//
//   - The successor starts only after the last operation of the dead server has
//     ended in the kernel: the fence, see package storage/device.
//   - It takes the requests the dead server had given to a device, of all sessions,
//     before any other; the guard then keeps the others behind them.
//
// The guard is also what makes a request atomic: a read sees all of a write or
// nothing of it.
//
// A request is on the CPU between Begin and Park or Reply of package ipc; one
// that was there in ipc.PoisonAttempts deaths is refused with KindPoison.
//
// # Fairness and bounds
//
// Sessions are served in rotation, turnRequests requests or turnBytes bytes at a
// time. On each of its volumes a session has Limits.Requests requests and
// Limits.Bytes bytes in flight; more wait and never fail. A request larger than
// Limits.Bytes is run alone. A device that is full makes requests wait likewise;
// turns then go to the session that waits longest, and one that the device
// interrupts goes on when there is room, so that small requests are not served
// one for one with large ones.
//
// What waits is queued by session and volume, so that a volume that is slow or
// full holds up nothing that a session asks of another. Once a session waits for
// all of its volumes, its further requests stay in shared memory. All queues are
// bounded by the slots of the sessions, a session's own by its own: no session can
// use up what another needs.
//
// # Trust
//
// A client may write anything at any time. A request is copied once by package
// ipc, decoded and checked, and only the checked copy is used. A malformed
// request ends its session with a named reason; a request that is merely wrong
// (out of bounds, not aligned, not permitted) is answered so. The contents of
// regions are never interpreted. A region stays mapped, and attached to the
// device, until the last operation on it has ended, even if its client is gone.
//
// A Core belongs to one goroutine. It has no locks, reads no clock and makes no
// system calls but those of its devices.
package server
