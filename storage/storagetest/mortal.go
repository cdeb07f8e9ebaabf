package storagetest

import (
	"sync/atomic"

	"github.com/quintet-os/quintet/storage"
)

// fate ends an incarnation by a panic in one of its calls of a device.
type fate struct{ left atomic.Int64 } // calls until then; 0: never

// death is what it panics with.
type death struct{}

func (f *fate) set(calls int) { f.left.Store(int64(calls)) }

func (f *fate) tick() {
	if f.left.Load() > 0 && f.left.Add(-1) == 0 {
		panic(death{})
	}
}

// survive runs f, and returns nil when it dies its appointed death.
func survive(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil && r != (death{}) {
			panic(r)
		}
	}()
	return f()
}

// mortal is a device at whose calls the server may die: before and after an
// operation is handed over, before operations are started, and after their ends
// have been collected and nobody has been told.
type mortal struct {
	storage.Device
	fate *fate
}

func (m *mortal) Submit(op *storage.Operation) bool {
	m.fate.tick()
	took := m.Device.Submit(op)
	m.fate.tick()
	return took
}

func (m *mortal) Reap(done []storage.Completion) int {
	m.fate.tick()
	n := m.Device.Reap(done)
	if n > 0 {
		m.fate.tick()
	}
	return n
}
