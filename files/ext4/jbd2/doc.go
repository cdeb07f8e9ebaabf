// Package jbd2 is the journal of ext4: it replays what Linux and e2fsprogs
// logged, and logs what they can replay.
//
// Purpose: an operation of the file system changes several blocks; after power
// loss either all of its changes are found, or none. The package knows blocks
// and transactions and nothing of what the blocks mean.
//
// # Life of a change
//
// An operation opens a Handle with the number of blocks it may change (its
// credits), announces each block before changing it (GetWrite, GetCreate), says
// that it did (Dirty), and stops the handle. Handles join the running
// transaction. Committing seals it: its handles end, a new running transaction
// takes over, its blocks are copied to the log, flushed, and a commit block is
// written and flushed. Later, lazily, a checkpoint writes the blocks home and
// moves the tail of the log on.
//
//	 running ──seal──> committing ──commit block durable──> checkpointing ──all home──> gone
//	(handles)         (copied to the log)                  (log space kept)        (space free)
//
// Invariants:
//   - There is at most one running and one committing transaction.
//   - A block's home is not written while the block belongs to a transaction
//     that has not committed.
//   - If the running transaction changes a block that the committing one still
//     has to copy, the old content is copied first (frozen).
//   - The log's space is given back only after a flush has made the home copies
//     durable and the superblock names the new tail.
//   - A metadata block that is freed is revoked, so that replay never writes its
//     old content over whatever uses the block next; and the file system gives
//     freed blocks out again only after the commit (Handle.OnCommit).
//
// # Threads
//
// The package starts no goroutine: who asks for a commit carries it out, and
// those who ask meanwhile wait for that or the next one, which is what makes
// one commit serve many. Run is a loop for a goroutine of the owner's that
// commits before anybody has to wait.
//
// Lock order: Journal.commitMu, Journal.checkpointMu, buffer.Buffer.Mu,
// Journal.mu. No lock of these but the first two is held during I/O. Callers
// may hold their own locks around handle operations, except that none that a
// holder of a handle waits for may be held around Start, Restart, or Commit.
//
// Trust: the log on the device is not trusted; nothing in it can cause a panic,
// an endless loop, or a write beyond the volume. Callers are.
//
// Sources: Linux Documentation/filesystems/ext4/journal.rst and fs/jbd2;
// e2fsprogs e2fsck/recovery.c; S. Tweedie, "Journaling the Linux ext2fs
// Filesystem", 1998.
package jbd2
