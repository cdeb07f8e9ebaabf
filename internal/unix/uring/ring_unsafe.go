package uring

import (
	"unsafe"

	sys "golang.org/x/sys/unix"
)

func setup(entries uint32, p *params) (int, error) {
	fd, _, errno := sys.Syscall(sys.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	sys.CloseOnExec(int(fd))
	return int(fd), nil
}

// enter tells the runtime of the call only when it may block: the rest is short,
// and handing the processor over would cost more than the call.
func enter(fd int, submit, wait, flags uint32) (int, sys.Errno) {
	call := sys.RawSyscall6
	if wait > 0 {
		call = sys.Syscall6
	}
	n, _, errno := call(sys.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags), 0, 0)
	return int(n), errno
}

func register(fd int, opcode uintptr, argument unsafe.Pointer, count uintptr) error {
	_, _, errno := sys.Syscall6(sys.SYS_IO_URING_REGISTER, uintptr(fd), opcode, uintptr(argument), count, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// mapRings maps both rings and the submissions. The index array maps each place
// of the ring to the submission of the same number, for good.
func (r *Ring) mapRings(p *params) (err error) {
	size := max(int(p.sq.array)+int(p.sqEntries)*4, int(p.cq.cqes)+int(p.cqEntries)*int(unsafe.Sizeof(CQE{})))
	if r.rings, err = sys.Mmap(r.fd, offsetRings, size, sys.PROT_READ|sys.PROT_WRITE, sys.MAP_SHARED|sys.MAP_POPULATE); err != nil {
		return err
	}
	size = int(p.sqEntries) * int(unsafe.Sizeof(SQE{}))
	if r.slots, err = sys.Mmap(r.fd, offsetSQEs, size, sys.PROT_READ|sys.PROT_WRITE, sys.MAP_SHARED|sys.MAP_POPULATE); err != nil {
		return err
	}
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[offset])) }
	r.sqHead, r.sqTail, r.sqFlags, r.sqMask = word(p.sq.head), word(p.sq.tail), word(p.sq.flags), *word(p.sq.mask)
	r.cqHead, r.cqTail, r.cqMask = word(p.cq.head), word(p.cq.tail), *word(p.cq.mask)
	r.sqes = unsafe.Slice((*SQE)(unsafe.Pointer(&r.slots[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*CQE)(unsafe.Pointer(&r.rings[p.cq.cqes])), p.cqEntries)
	array := unsafe.Slice(word(p.sq.array), p.sqEntries)
	for i := range array {
		array[i] = uint32(i)
	}
	return nil
}

// transfer fills in what reads and writes have in common.
func (s *SQE) transfer(opcode uint8, fd int, mem []byte, offset int64) {
	s.opcode, s.offset, s.length = opcode, uint64(offset), uint32(len(mem))
	s.address = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
	s.fd = int32(fd)
}

// RegisterEventfd has fd signalled at completions.
func (r *Ring) RegisterEventfd(fd int) error {
	word := int32(fd)
	return register(r.fd, registerEventfd, unsafe.Pointer(&word), 1)
}

// rsrcRegister is struct io_uring_rsrc_register.
type rsrcRegister struct {
	count, flags uint32
	_            uint64
	data, tags   uint64
}

// rsrcUpdate is struct io_uring_rsrc_update2.
type rsrcUpdate struct {
	offset, _  uint32
	data, tags uint64
	count, _   uint32
}

// RegisterBuffers makes a table of count empty places for fixed buffers.
// It needs Linux 5.19.
func (r *Ring) RegisterBuffers(count int) error {
	arg := rsrcRegister{count: uint32(count), flags: registerSparse}
	return register(r.fd, registerBuffers2, unsafe.Pointer(&arg), unsafe.Sizeof(arg))
}

// SetBuffer pins mem at a place of the table; nil empties the place, once what
// is in flight has ended. It fails with ENOMEM beyond RLIMIT_MEMLOCK, unless
// the process has CAP_IPC_LOCK.
func (r *Ring) SetBuffer(place int, mem []byte) error {
	r.vector = sys.Iovec{}
	if len(mem) > 0 {
		r.vector.Base = &mem[0]
		r.vector.SetLen(len(mem))
	}
	arg := rsrcUpdate{
		offset: uint32(place),
		data:   uint64(uintptr(unsafe.Pointer(&r.vector))),
		count:  1,
	}
	return register(r.fd, registerBuffersUpdate, unsafe.Pointer(&arg), unsafe.Sizeof(arg))
}

// restrict limits a disabled ring, for good.
func (r *Ring) restrict() error {
	all := restrictions()
	return register(r.fd, registerRestrictions, unsafe.Pointer(&all[0]), uintptr(len(all)))
}
