package uring

// Numbers of linux/io_uring.h and linux/fs.h.
const (
	opNop        = 0
	opFsync      = 3
	opReadFixed  = 4
	opWriteFixed = 5
	opFallocate  = 17
	opRead       = 22
	opWrite      = 23

	fsyncDatasync    = 1
	rwDsync          = 2
	fallocKeepSize   = 1
	fallocPunchHole  = 2
	fallocZeroRange  = 16
	setupClamp       = 1 << 4
	setupDisabled    = 1 << 6
	setupCoopTaskrun = 1 << 8
	setupTaskrunFlag = 1 << 9
	setupSingle      = 1 << 12
	setupDefer       = 1 << 13
	featSingleMmap   = 1 << 0
	featNodrop       = 1 << 1
	enterGetevents   = 1 << 0
	sqCQOverflow     = 1 << 1
	sqTaskrun        = 1 << 2

	registerEventfd       = 4
	registerRestrictions  = 11
	registerEnable        = 12
	registerBuffers2      = 15
	registerBuffersUpdate = 16
	registerSparse        = 1

	restrictRegister = 0
	restrictOp       = 1

	offsetRings = 0
	offsetSQEs  = 0x10000000
)

// SQE is a submission, struct io_uring_sqe.
type SQE struct {
	opcode   uint8
	flags    uint8
	ioprio   uint16
	fd       int32
	offset   uint64
	address  uint64
	length   uint32
	opFlags  uint32
	UserData uint64
	buffer   uint16
	_        uint16
	_        int32
	_        [2]uint64
}

// CQE is a completion, struct io_uring_cqe.
type CQE struct {
	UserData uint64
	Result   int32 // bytes, or a negative errno
	Flags    uint32
}

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, threadCPU, threadIdle, features, wqFD uint32
	_                                                                  [3]uint32
	sq                                                                 sqOffsets
	cq                                                                 cqOffsets
}

// sqOffsets is struct io_sqring_offsets.
type sqOffsets struct {
	head, tail, mask, entries, flags, dropped, array, _ uint32
	_                                                   uint64
}

// cqOffsets is struct io_cqring_offsets.
type cqOffsets struct {
	head, tail, mask, entries, overflow, cqes, flags, _ uint32
	_                                                   uint64
}
