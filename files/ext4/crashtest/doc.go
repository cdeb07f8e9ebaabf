// Package crashtest finds out what power loss does to a file system.
//
// Purpose: a Recorder stands between a file system and its volume and logs
// every write and flush. From the log, States makes the images that power loss
// could have left: after each write, and with writes since the last flush lost,
// reordered and torn. Images share their pages, so that one costs what it
// differs by. Faults makes the i-th operation of a device fail instead. The
// helpers around e2fsprogs and the kernel's own mount are the independent judges.
//
// What a device is assumed to do: one page (Grain bytes) is written whole or
// not at all; a write of several pages may be cut anywhere and its pages may
// land in any order; nothing that was written before a completed flush is lost.
//
// Concurrency: a Recorder and an Image may be used by any number of goroutines;
// frozen images are shared without locks.
//
// It is test machinery: nothing but tests imports it.
package crashtest
