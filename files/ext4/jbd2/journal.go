package jbd2

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/files/ext4/buffer"
)

const (
	// transactionShare: a transaction takes at most one share of this many of
	// the log, so that some can be kept for a lazy checkpoint.
	transactionShare = 4
	// reserveBlocks is log space beyond a full transaction that a handle waits
	// for: revoke blocks that handles in flight add after it has become full.
	reserveBlocks = 64
	// stagingBytesMax bounds the memory a commit gathers its log writes in.
	stagingBytesMax = 1 << 20
	// flushRoundsMax is how often Flush begins again because something was
	// changed meanwhile.
	flushRoundsMax = 100
	// commitInterval is the age at which Run commits the running transaction.
	commitInterval = 5 * time.Second
)

// Options say what a live journal works with.
type Options struct {
	Cache *buffer.Cache    // all metadata blocks that transactions change
	Now   func() time.Time // time of day, for commit blocks
	// Wide must be set for volumes with the 64bit feature, Checksums for those
	// with metadata_csum: they become features of the journal, as Linux does it.
	Wide, Checksums bool
	// Replayed is what recovery has found, if the log was not empty: transactions from its
	// End on are lost, whatever is committed since.
	Replayed *ReplayResult
	// OnAbort, if set, is called once when the journal gives up, on the
	// goroutine that met the error, which may be committing: it may call
	// nothing of the journal's but Err.
	OnAbort func(error)
}

// Journal is a live journal. All methods may be called from any goroutine.
type Journal struct {
	log     Log
	options Options
	cache   *buffer.Cache
	layout  layout

	commitMu     sync.Mutex // held by whoever carries out a commit
	staging      []byte     // guarded by commitMu
	checkpointMu sync.Mutex // held by whoever checkpoints
	writeMu      sync.Mutex // held while checkpoint has home copies in flight

	mu        sync.Mutex
	changed   sync.Cond    // handle ended, transaction sealed or committed, space freed, aborted
	sb        *Superblock  // the fields; its writing is serialised by checkpointMu or commitMu, see writeSuperblock
	running   *Transaction // nil until a handle starts
	sealing   bool         // running accepts no more handles
	committed uint32       // sequence of the last committed transaction
	lost      span         // of transactions that were not replayed
	next      uint32       // sequence of the next transaction
	head      uint32       // next free block of the log
	free      uint32       // blocks of the log
	live      []*Transaction
	closed    bool
	frozen    [][]byte // spare blocks for frozen copies
	sbMu      sync.Mutex

	aborted atomic.Pointer[AbortError]
	wake    chan struct{} // asks Run to look; never blocks the sender
	stats   counters
}

// Open takes over an empty log: one that Replay has emptied. Features of the
// journal are set as the options want them; nothing else is written until the
// first commit. Errors: *FormatError (also when the log is not empty),
// *ChecksumError, *buffer.IOError.
func Open(log Log, o Options) (*Journal, error) {
	sb, err := log.Load()
	if err != nil {
		return nil, err
	}
	if sb.Dirty() {
		return nil, &FormatError{What: "the log holds transactions; replay it first"}
	}
	sb.Incompat |= IncompatRevoke
	sb.Incompat &^= IncompatAsyncCommit
	if o.Wide {
		sb.Incompat |= Incompat64Bit
	}
	if o.Checksums {
		sb.Compat &^= CompatChecksum
		sb.Incompat = sb.Incompat&^IncompatChecksumV2 | IncompatChecksumV3
	} else {
		// Version 1 is of no use (it is checked only for the last transaction
		// that did not end well) and is not written.
		sb.Compat &^= CompatChecksum
	}
	sb.Errno = 0
	j := &Journal{
		log: log, options: o, cache: o.Cache, layout: sb.layout(), sb: sb,
		committed: sb.Sequence, next: sb.Sequence + 1,
		head: sb.First, free: sb.end() - sb.First,
		wake: make(chan struct{}, 1),
	}
	if o.Replayed != nil {
		j.lost = span{o.Replayed.End, j.next}
	}
	j.changed.L = &j.mu
	j.staging = make([]byte, 0, (1+j.groupBlocks())*log.BlockSize)
	if err := j.writeSuperblock(); err != nil {
		return nil, err
	}
	return j, nil
}

// groupBlocks is how many blocks are logged under one descriptor block.
func (j *Journal) groupBlocks() int {
	return max(1, min(j.layout.tagsPerBlock(), stagingBytesMax/j.layout.blockSize-1))
}

// size is the length of the log proper in blocks.
func (j *Journal) size() uint32 { return j.sb.end() - j.sb.First }

// CreditsMax is the greatest number of blocks one transaction may change, and
// so the most a handle may ask for.
func (j *Journal) CreditsMax() int {
	share := int(j.size() / transactionShare)
	return share - share/j.groupBlocks() - 3
}

// writeSuperblock makes the present superblock durable.
func (j *Journal) writeSuperblock() error {
	j.sbMu.Lock()
	defer j.sbMu.Unlock()
	j.mu.Lock()
	raw := append([]byte(nil), j.sb.marshal()...)
	j.mu.Unlock()
	if err := j.log.write(0, raw); err != nil {
		return err
	}
	return j.log.flush()
}

// Err returns the *AbortError of a journal that has given up, or nil.
func (j *Journal) Err() error {
	if e := j.aborted.Load(); e != nil {
		return e
	}
	return nil
}

// Abort makes the journal give up: nothing more is committed, every operation
// fails with the same *AbortError. File systems call it when they find their
// metadata inconsistent.
func (j *Journal) Abort(cause error) { j.abort(0, cause) }

func (j *Journal) abort(sequence uint32, cause error) error {
	e := &AbortError{Transaction: sequence, Err: cause}
	if !j.aborted.CompareAndSwap(nil, e) {
		return j.aborted.Load()
	}
	j.mu.Lock()
	j.sb.Errno = -errnoIO
	j.changed.Broadcast()
	j.mu.Unlock()
	// The device is failing: that the mark cannot be written either is no news.
	_ = j.writeSuperblock()
	if j.options.OnAbort != nil {
		j.options.OnAbort(e)
	}
	return e
}

// errnoIO is the error number Linux leaves in the superblock of an aborted journal (EIO).
const errnoIO = 5

// Close commits, checkpoints everything, and marks the log empty. No handle may
// be open. An aborted journal is left as it is, for the next mount to replay,
// and its *AbortError returned.
func (j *Journal) Close() error {
	if err := j.Flush(); err != nil {
		return err
	}
	j.mu.Lock()
	j.closed = true
	j.changed.Broadcast()
	j.mu.Unlock()
	return nil
}

// Flush commits what is running, writes everything home, and marks the log
// empty, so that the volume is consistent without it.
// Errors: *AbortError; ErrBusy when others keep changing the volume.
func (j *Journal) Flush() error {
	for range flushRoundsMax {
		if err := j.CommitRunning(); err != nil {
			return err
		}
		if done, err := j.checkpoint(0); err != nil {
			return err
		} else if done {
			break
		}
	}
	j.commitMu.Lock()
	defer j.commitMu.Unlock()
	j.mu.Lock()
	if len(j.live) != 0 || j.running != nil && !j.running.empty() {
		j.mu.Unlock()
		return ErrBusy
	}
	j.sb.Start = 0
	j.sb.Sequence = j.next + 1 // as Replay leaves it: the last number before it is of no transaction
	j.mu.Unlock()
	if err := j.writeSuperblock(); err != nil {
		return j.abort(0, err)
	}
	return nil
}

// Run commits the running transaction when it is commitInterval old or half
// full, and checkpoints when half of the log is in use or a quarter of the cache
// dirty, until ctx ends. Without
// Run, whoever starts a handle does that work when it can no longer be put off.
func (j *Journal) Run(ctx context.Context) {
	ticker := time.NewTicker(commitInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.wake:
			j.background(false)
		case <-ticker.C:
			j.background(true)
		}
	}
}

// background does what Run is for; its errors have aborted the journal, which
// is where callers meet them.
func (j *Journal) background(old bool) {
	j.mu.Lock()
	full := j.running != nil && j.running.outstanding > j.CreditsMax()/2
	j.mu.Unlock()
	if old || full {
		_ = j.CommitRunning()
	}
	switch c := j.cache.Stats(); {
	case c.Dirty > c.Limit/4:
		_, _ = j.checkpoint(0)
	case j.crowded():
		_, _ = j.checkpoint(j.size() / 2)
	}
}

// crowded reports whether less than half of the log is free.
func (j *Journal) crowded() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.free < j.size()/2
}

func (j *Journal) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

type counters struct {
	commits, blocks, revokes, frozen, checkpoints, checkpointed, waits atomic.Int64
}

// Stats counts what the journal has done since Open.
type Stats struct {
	Commits      int64 // transactions committed
	Blocks       int64 // metadata blocks logged
	Revokes      int64 // revoke records logged
	Frozen       int64 // blocks copied because two transactions wanted them
	Checkpoints  int64 // times the tail of the log was moved
	Checkpointed int64 // blocks written home
	SpaceWaits   int64 // handles that had to make room in the log themselves
	Free, Size   int64 // blocks of the log
}

// Stats returns the present figures.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	free := j.free
	j.mu.Unlock()
	c := &j.stats
	return Stats{
		Commits: c.commits.Load(), Blocks: c.blocks.Load(), Revokes: c.revokes.Load(), Frozen: c.frozen.Load(),
		Checkpoints: c.checkpoints.Load(), Checkpointed: c.checkpointed.Load(), SpaceWaits: c.waits.Load(),
		Free: int64(free), Size: int64(j.size()),
	}
}
