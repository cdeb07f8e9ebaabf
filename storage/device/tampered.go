package device

import "github.com/quintet-os/quintet/storage"

// Verdict is what Tampered does with an operation.
type Verdict struct {
	Full  bool // refuse it, as a device that has no room
	Hold  bool // keep it until Release
	Kind  storage.Kind
	Errno uint32 // with Kind: fail it, untouched
}

// Tampered is a device whose operations are recorded, delayed and failed as a
// test or simulation decides.
type Tampered struct {
	storage.Device
	// Decide is asked of each submitted operation; nil lets everything pass.
	Decide func(op *storage.Operation) Verdict
	// Record, if not nil, is called with each operation when the device behind
	// is given it, and again with its completion.
	Record func(op *storage.Operation, c *storage.Completion)

	held   []storage.Operation
	ready  []storage.Operation // released, and not yet taken by the device
	failed []storage.Completion
	inside map[uint64]storage.Operation // by tag, given to the device
}

// Tamper wraps a device.
func Tamper(device storage.Device) *Tampered {
	return &Tampered{Device: device, inside: make(map[uint64]storage.Operation)}
}

// Submit asks Decide.
func (t *Tampered) Submit(op *storage.Operation) bool {
	var v Verdict
	if t.Decide != nil {
		v = t.Decide(op)
	}
	switch {
	case v.Full:
		return false
	case v.Kind != storage.KindOK:
		t.failed = append(t.failed, storage.Completion{Tag: op.Tag, Kind: v.Kind, Errno: v.Errno})
	case v.Hold:
		t.held = append(t.held, *op)
	default:
		return t.give(op)
	}
	return true
}

func (t *Tampered) give(op *storage.Operation) bool {
	if !t.Device.Submit(op) {
		return false
	}
	t.inside[op.Tag] = *op
	if t.Record != nil {
		t.Record(op, nil)
	}
	return true
}

// Held returns the number of operations kept back.
func (t *Tampered) Held() int { return len(t.held) }

// Release lets the first n operations kept back go on.
func (t *Tampered) Release(n int) {
	t.ready = append(t.ready, t.held[:n]...)
	t.held = t.held[n:]
}

// Busy tells whether the device behind is busy with what it was given.
func (t *Tampered) Busy() bool { return len(t.inside) > 0 && t.Device.Busy() }

// Reap collects from the device behind, and what was failed.
func (t *Tampered) Reap(done []storage.Completion) int {
	for len(t.ready) > 0 && t.give(&t.ready[0]) {
		t.ready = t.ready[1:]
	}
	n := copy(done, t.failed)
	t.failed = t.failed[n:]
	for end := n + t.Device.Reap(done[n:]); n < end; n++ {
		op := t.inside[done[n].Tag]
		delete(t.inside, op.Tag)
		if t.Record != nil {
			t.Record(&op, &done[n])
		}
	}
	return n
}
