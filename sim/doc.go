// Package sim runs a storage server, its clients and its device in one goroutine,
// with a seeded schedule, virtual time and deaths at any write to shared memory.
//
// Everything but the device is the real thing: package ipc over heap memory, and
// the storage server's core. The scheduler picks who does the next small step: a
// client submits or collects, the server takes one Step or sleeps on its
// doorbells, the device moves half a block or completes. Package crashpoint calls
// the simulator before every write to shared memory; a death is a panic out of
// that call, after which nothing is left of the side but what it had written.
// A dead server's operations in the device go on, as in the kernel, and its
// successor is born only when the last one has ended: that is the fence.
//
// Judged are:
//
//   - Each request is answered once, with its own data.
//   - Each block is an atomic register over the whole run, see History: no
//     acknowledged write is undone, and no old value comes back.
//   - A request takes effect at most once more than there were deaths in its life.
//   - An error of the device, and what it had done until then, is reported for the
//     request it struck and for no other.
//   - A client that breaks the protocol loses its session, and nobody else anything.
//   - A server that is drained leaves nothing that its successor executes again.
//   - Memory of a dead client is not touched once the server has let go of it.
//   - Nobody hangs.
//
// A run is a function of its Plan: the same plan gives the same run, and a
// failure prints the plan. What the simulator does not cover: clients here look
// for replies and do not sleep (package ipc/model has both sides' sleep), and
// memory ordering (the schedule is sequentially consistent).
//
// It needs the build tag "simulator", without which the calls of crashpoint are
// compiled to nothing.
package sim
