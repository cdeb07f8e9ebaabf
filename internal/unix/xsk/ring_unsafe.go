package xsk

import (
	"os"
	"sync/atomic"
	"unsafe"

	sys "golang.org/x/sys/unix"
)

const (
	sizeofAddress = 8
	sizeofDesc    = int(unsafe.Sizeof(Desc{}))
)

// ring is one of the four: single producer, single consumer. The kernel is the
// other side; indices run freely and are taken modulo the size.
type ring struct {
	mem                       []byte
	producer, consumer, flags *atomic.Uint32
	base                      unsafe.Pointer
	mask                      uint32
	local                     uint32 // ours, not yet published
}

func (r *ring) attach(mem []byte, o sys.XDPRingOffset, entries int) {
	word := func(offset uint64) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&mem[offset])) }
	r.mem, r.mask = mem, uint32(entries-1)
	r.producer, r.consumer, r.flags = word(o.Producer), word(o.Consumer), word(o.Flags)
	r.base = unsafe.Pointer(&mem[o.Desc])
}

func (r *ring) address(i uint32) *uint64 {
	return (*uint64)(unsafe.Add(r.base, uintptr(i&r.mask)*sizeofAddress))
}

func (r *ring) desc(i uint32) *Desc {
	return (*Desc)(unsafe.Add(r.base, uintptr(i&r.mask)*uintptr(sizeofDesc)))
}

// Of the fill and the transmit ring we are the producer; local counts what has been
// pushed and not published.

func (r *ring) free() int {
	return int(r.mask + 1 - (r.producer.Load() + r.local - r.consumer.Load()))
}

func (r *ring) pushAddress(addr uint64) bool {
	if r.free() == 0 {
		return false
	}
	*r.address(r.producer.Load() + r.local) = addr
	r.local++
	return true
}

func (r *ring) push(d Desc) {
	*r.desc(r.producer.Load() + r.local) = d
	r.local++
}

func (r *ring) publish() {
	if r.local > 0 {
		r.producer.Add(r.local)
		r.local = 0
	}
}

func (r *ring) waiting() int { return int(r.producer.Load() - r.consumer.Load()) }

func (r *ring) asleep() bool { return r.flags.Load()&sys.XDP_RING_NEED_WAKEUP != 0 }

// Of the other two we are the consumer; local counts what has been popped and not
// released.

func (r *ring) popAddress() (uint64, bool) {
	at := r.consumer.Load() + r.local
	if at == r.producer.Load() {
		return 0, false
	}
	r.local++
	return *r.address(at), true
}

func (r *ring) pop() (Desc, bool) {
	at := r.consumer.Load() + r.local
	if at == r.producer.Load() {
		return Desc{}, false
	}
	r.local++
	return *r.desc(at), true
}

func (r *ring) release() {
	if r.local > 0 {
		r.consumer.Add(r.local)
		r.local = 0
	}
}

func (r *ring) addresses(f func(uint64)) {
	for i := r.consumer.Load(); i != r.producer.Load(); i++ {
		f(*r.address(i))
	}
}

func (r *ring) pieces(f func(Desc)) {
	for i := r.consumer.Load(); i != r.producer.Load(); i++ {
		f(*r.desc(i))
	}
}

func registerUMEM(fd int, umem []byte, chunkBytes int) error {
	r := sys.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&umem[0]))), Len: uint64(len(umem)), Size: uint32(chunkBytes)}
	_, _, errno := sys.Syscall6(sys.SYS_SETSOCKOPT, uintptr(fd), sys.SOL_XDP, sys.XDP_UMEM_REG, uintptr(unsafe.Pointer(&r)), unsafe.Sizeof(r), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// describe asks where in the rings things are, and whether the socket works without
// copying.
func describe(fd int) (offsets sys.XDPMmapOffsets, zeroCopy bool, err error) {
	size := uint32(unsafe.Sizeof(offsets))
	_, _, errno := sys.Syscall6(sys.SYS_GETSOCKOPT, uintptr(fd), sys.SOL_XDP, sys.XDP_MMAP_OFFSETS, uintptr(unsafe.Pointer(&offsets)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return offsets, false, os.NewSyscallError("getsockopt(XDP_MMAP_OFFSETS)", errno)
	}
	options, err := sys.GetsockoptInt(fd, sys.SOL_XDP, sys.XDP_OPTIONS)
	if err != nil {
		return offsets, false, os.NewSyscallError("getsockopt(XDP_OPTIONS)", err)
	}
	return offsets, options&sys.XDP_OPTIONS_ZEROCOPY != 0, nil
}

func kick(call uintptr, fd int) error {
	if _, _, errno := sys.Syscall6(call, uintptr(fd), 0, 0, sys.MSG_DONTWAIT, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
