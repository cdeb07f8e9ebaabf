// Package device holds the devices a storage server drives: File, a regular file
// or block device through io_uring; Memory; and Tampered, another device with
// delays, failures and a record, for tests and simulation.
//
// A device takes descriptors that are already open, since the process it runs in
// can open nothing. It belongs to one thread and has no locks.
//
// Fence. A process killed by SIGKILL leaves its direct writes in the kernel,
// where they reach the device whenever the device pleases: seconds later, over
// newer data. So a server holds an exclusive flock on the very open file
// description it does I/O on (Fence), and no other process keeps that
// description. Operations in flight pin it, so that a successor, which has opened
// the file anew, gets the lock only when the last of them has ended.
//
// Trust: operations have been checked by the caller. The memory they name may
// change at any time, being shared with a client; it is never interpreted.
package device
