package ipc

import (
	"sync/atomic"
	"unsafe"

	"github.com/quintet-os/quintet/internal/crashpoint"
)

// memory is a mapped segment, addressed by byte offset. The offsets come from a
// checked Geometry and the length has been compared with it, so accesses are
// not checked again.
//
// The zero memory is what is left of a session that has ended here: loads from it
// are zero and stores go nowhere, so that nobody who still refers to the session
// can reach what may be mapped at that address by now.
type memory struct {
	base unsafe.Pointer
}

func newMemory(mem []byte) memory {
	return memory{unsafe.Pointer(unsafe.SliceData(mem))}
}

// word is the word at off of a memory that is not the zero one.
func (m memory) word(off int) *uint64 { return (*uint64)(unsafe.Add(m.base, off)) }

// word32 is the futex at off, the low half of the word; nil of the zero memory.
func (m memory) word32(off int) *uint32 {
	if m.base == nil {
		return nil
	}
	return (*uint32)(unsafe.Add(m.base, off))
}

func (m memory) load(off int) uint64 {
	if m.base == nil {
		return 0
	}
	return atomic.LoadUint64(m.word(off))
}

// publish stores v so that everything written before is visible to whoever
// reads it. It is not a full fence.
func (m memory) publish(off int, v uint64) {
	if m.base == nil {
		return
	}
	crashpoint.Here()
	storeRelease(m.word(off), v)
}

// announce stores v with a full fence behind it.
func (m memory) announce(off int, v uint64) {
	if m.base == nil {
		return
	}
	crashpoint.Here()
	atomic.StoreUint64(m.word(off), v)
}

// toggle flips a bit that the caller owns: up when the sequence number is odd,
// down when it is even. An addition cannot carry into a neighbour's bit, since
// the owner knows the bit. It is a full fence.
func (m memory) toggle(off, slot int, seq uint64) {
	if m.base == nil {
		return
	}
	crashpoint.Here()
	bit := uint64(1) << (slot & 63)
	if seq&1 == 0 {
		bit = -bit
	}
	atomic.AddUint64(m.word(off+slot>>6*8), bit)
}

// putWords writes the payload of the record at off, leaving its seq alone.
func (m memory) putWords(off int, w *Words) {
	if m.base == nil {
		return
	}
	crashpoint.Here()
	*(*Words)(unsafe.Add(m.base, off+8)) = *w
	crashpoint.Here()
}

// getWords copies the payload of the record at off, once.
func (m memory) getWords(off int, w *Words) {
	if m.base == nil {
		*w = Words{}
		return
	}
	*w = *(*Words)(unsafe.Add(m.base, off+8))
}

func (m memory) putDescriptor(off int, d *Descriptor) {
	if m.base == nil {
		return
	}
	crashpoint.Here()
	*(*Descriptor)(unsafe.Add(m.base, off)) = *d
}

func (m memory) getDescriptor(off int, d *Descriptor) {
	if m.base == nil {
		*d = Descriptor{}
		return
	}
	*d = *(*Descriptor)(unsafe.Add(m.base, off))
}

// kickWord is the futex behind an atomic of this process.
func kickWord(w *atomic.Uint32) *uint32 { return (*uint32)(unsafe.Pointer(w)) }
