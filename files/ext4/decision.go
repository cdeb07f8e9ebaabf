package ext4

import "math"

// Decision is what an operation decided, and how far it has come. The exported fields are
// what has to be kept of it for a successor: see FS.Expect.
type Decision struct {
	// Parts are the operation's shares of transactions of the journal, the oldest first.
	Parts []Part
	// Done is how far the operation came in all, in the measure of Part.Done; 0 if it
	// changed nothing.
	Done uint64
	// Held says that an inode that lost its last name was held, and so was kept.
	Held       bool
	Ino        uint32 // of what was created, or has lost its last name
	Generation uint32
	Blocks     []Run    // of data, in the order of the file
	Metadata   []uint64 // but for quota files', which are chosen anew

	// How far this application of it has come, like a Part.
	done             uint64
	blocks, metadata int
	next             int // of Blocks, beyond those held but not part of the file yet

	expects *FS  // where it is to be applied again
	resumed bool // what has not been decided is decided anew
}

// Part is what an operation did in one transaction, or how far it had come by its end.
type Part struct {
	Transaction uint32 // by its sequence
	// Blocks and Metadata count those of the Decision that the operation had taken.
	Blocks, Metadata int
	// Done is how far it had come: bytes written; blocks punched and allocated, and one more
	// for either when complete; partly or all, of others.
	Done uint64
}

// Done of operations that have no finer measure.
const (
	partly = 1 + iota // blocks of an inode are being freed; all else is done
	wholly
)

// Run is a stretch of blocks of the volume.
type Run struct {
	Block uint64
	Count uint32
}

// Last is the last transaction that the operation is part of, 0 if it changed nothing.
func (d *Decision) Last() uint32 { return d.last().Transaction }

func (d *Decision) last() Part {
	if len(d.Parts) == 0 {
		return Part{}
	}
	return d.Parts[len(d.Parts)-1]
}

// Expect prepares for an operation of a process that died to be applied again. ended
// says that it had returned. Parts that have not committed are dropped from d, which is to be kept
// so; what of its blocks it has still to take is given to nobody else. pending tells
// whether it has to be applied again at all.
//
// After Open, with Options.KeepOrphans, Expect is called for every operation that the
// process recorded; then those that are pending are called again, with the same arguments
// and Op.Replay: first those that had ended, in their order, and then the others, which go
// on to their end. Release needs its Hold first. Each skips what has committed, takes
// exactly the same inode and blocks, writes no file data, which is in place, and ends
// as it did; what fell short does so again, with KindNoSpace. Parts that are new are
// recorded like those before.
//
// Errors: KindInvalid when d does not fit the volume; damage; those of the volume.
func (f *FS) Expect(d *Decision, ended bool) (pending bool, err error) {
	n := 0
	for n < len(d.Parts) && f.Committed(d.Parts[n].Transaction) {
		n++
	}
	d.Parts = d.Parts[:n:n]
	at := d.last()
	if d.Done == 0 || ended && at.Done >= d.Done {
		return false, nil
	}
	if at.Blocks > len(d.Blocks) || at.Metadata > len(d.Metadata) {
		return false, refuse(KindInvalid, "replay: parts and blocks do not fit", d.Ino, "")
	}
	for _, r := range d.Blocks[at.Blocks:] {
		if err := f.holdExactly(span{r.Block, r.Count}); err != nil {
			return false, err
		}
		f.available.Add(-int64(r.Count))
	}
	for _, b := range d.Metadata[at.Metadata:] {
		if err := f.holdExactly(span{b, 1}); err != nil {
			return false, err
		}
		f.available.Add(-1)
	}
	d.expects, d.resumed = f, !ended
	return true, nil
}

// rewind prepares the decision for an attempt: a new one, or one that obeys it from
// where the parts that have committed end.
func (o *Op) rewind(f *FS) error {
	d := o.Decision
	switch {
	case d == nil:
	case !o.Replay:
		*d = Decision{}
	case d.expects != f:
		return refuse(KindInvalid, "replay: an operation that is not expected", d.Ino, "")
	default:
		at := d.last()
		d.done, d.blocks, d.metadata, d.next = at.Done, at.Blocks, at.Metadata, at.Blocks
		d.expects = nil
	}
	return nil
}

// from is how far an operation had come in parts that have committed.
func (o *Op) from() uint64 {
	if !o.replaying() {
		return 0
	}
	return o.Decision.last().Done
}

// until is how far an operation goes: one that had ended, for want of space if not of
// things to do, ends there again.
func (o *Op) until() uint64 {
	if !o.replaying() || o.Decision.resumed {
		return math.MaxInt64
	}
	return o.Decision.Done
}

// decided tells whether all that the operation needs has been decided, and so been claimed.
func (o *Op) decided() bool { return o.replaying() && !o.Decision.resumed }

// took counts a run of Blocks that has become part of the file.
func (o *Op) took() {
	if o.Decision != nil {
		o.Decision.blocks++
	}
}

// gaveBack drops the runs of Blocks that have not.
func (o *Op) gaveBack() {
	if d := o.Decision; d != nil {
		d.Blocks, d.next = d.Blocks[:d.blocks], d.blocks
	}
}

// came notes how far an operation with a measure of its own has come.
func (t *tx) came(done uint64) {
	t.measured = true
	if t.op.Decision != nil {
		t.op.Decision.done = done
	}
}

// record notes what the operation has done in the transaction that it is about to leave.
func (t *tx) record(done uint64) {
	d := t.op.Decision
	if d == nil || !t.changed {
		return
	}
	if !t.measured {
		d.done = done
	}
	p := Part{Transaction: t.h.Sequence(), Blocks: d.blocks, Metadata: d.metadata, Done: d.done}
	if n := len(d.Parts); n > 0 && d.Parts[n-1].Transaction == p.Transaction {
		d.Parts[n-1] = p
	} else {
		d.Parts = append(d.Parts, p)
	}
	d.Done = max(d.Done, d.done)
	if t.op.Record != nil {
		t.op.Record(d)
	}
}
