package device

import (
	"fmt"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/storage"
)

// stage is what a running operation waits for.
type stage uint8

const (
	stageTransfer  stage = iota // a read or write
	stagePunch                  // a hole
	stageZeroRange              // the file system's or device's own zeroing
	stageZeroWrite              // zeroes from memory
	stageSync                   // durability
)

// running is one operation in flight: one submission at a time.
type running struct {
	op      storage.Operation
	done    int64
	retries int
	stage   stage
}

// Submit queues an operation.
func (f *File) Submit(op *storage.Operation) bool {
	if len(f.free) == 0 {
		return false
	}
	i := f.free[len(f.free)-1]
	f.free = f.free[:len(f.free)-1]
	r := &f.running[i]
	*r = running{op: *op}
	switch op.Op {
	case storage.OpFlush:
		r.stage = stageSync
	case storage.OpDiscard:
		r.stage = stagePunch
	case storage.OpWriteZeroes:
		r.stage = f.zeroing
	}
	f.start(i)
	return true
}

// start writes the submission for the next step of an operation. There is always
// room: the ring has a place for each operation in flight.
func (f *File) start(i uint32) {
	r, sqe := &f.running[i], f.ring.Next()
	offset, left := r.op.Offset+r.done, r.op.Length-r.done
	fua := r.op.Flags&storage.FlagFUA != 0
	switch r.stage {
	case stageTransfer:
		if r.op.Piece > 0 {
			left = min(left, r.op.Piece)
		}
		mem, fixed := r.op.Mem[r.done:r.done+left], r.op.Buffer != storage.BufferNone
		switch {
		case r.op.Op == storage.OpRead && fixed:
			sqe.ReadFixed(f.fd, mem, offset, r.op.Buffer)
		case r.op.Op == storage.OpRead:
			sqe.Read(f.fd, mem, offset)
		case fixed:
			sqe.WriteFixed(f.fd, mem, offset, r.op.Buffer, fua)
		default:
			sqe.Write(f.fd, mem, offset, fua)
		}
	case stagePunch:
		sqe.PunchHole(f.fd, offset, left)
	case stageZeroRange:
		sqe.ZeroRange(f.fd, offset, left)
	case stageZeroWrite:
		sqe.Write(f.fd, f.zeroes[:min(left, zeroesBytes)], offset, fua)
	case stageSync:
		sqe.Datasync(f.fd)
	}
	sqe.UserData = uint64(i)
}

// Reap starts what is queued and collects what has ended. It goes round again
// when an operation takes a further step, which nothing else would start.
func (f *File) Reap(done []storage.Completion) int {
	f.enter()
	n := f.collect(done)
	for range stepsMax {
		if !f.ring.Pending() {
			return n
		}
		f.enter()
		n += f.collect(done[n:])
	}
	// What collect has queued is started here; its end rings the eventfd.
	f.enter()
	return n
}

func (f *File) enter() {
	if !f.ring.Pending() {
		return
	}
	if err := f.ring.Enter(0); err != nil {
		// Nothing can be said of the operations in flight, so no reply is safe:
		// die, and leave them to the fence and a successor.
		panic(fmt.Sprintf("storage device: the kernel refuses the ring: %v", err))
	}
}

// collect pops what has completed.
func (f *File) collect(done []storage.Completion) int {
	n := 0
	for n < len(done) {
		cqe, ok := f.ring.Pop()
		if !ok {
			break
		}
		i := uint32(cqe.UserData)
		if f.running[i].advance(f, cqe.Result, &done[n]) {
			f.running[i] = running{}
			f.free = append(f.free, i)
			n++
			continue
		}
		f.start(i)
	}
	return n
}

// advance takes the result of one step. True when the operation has ended, with
// its completion in c; false when another step is to be started.
func (r *running) advance(f *File, result int32, c *storage.Completion) bool {
	if result < 0 {
		return r.failed(f, uint32(-result), c)
	}
	switch r.stage {
	case stageTransfer, stageZeroWrite:
		r.done += int64(result)
		switch {
		case r.done >= r.op.Length:
		case result == 0 || r.done%int64(f.unit) != 0:
			// The file ends here now.
			return r.end(c, storage.KindGone, 0)
		default:
			return false
		}
	case stagePunch, stageZeroRange:
		r.done = r.op.Length
		if r.op.Flags&storage.FlagFUA != 0 {
			r.stage = stageSync
			return false
		}
	}
	return r.end(c, storage.KindOK, 0)
}

func (r *running) failed(f *File, errno uint32, c *storage.Completion) bool {
	switch {
	case (errno == unix.EAGAIN || errno == unix.EINTR) && r.retries < retriesMax:
		r.retries++
		return false
	case errno == unix.EOPNOTSUPP && r.op.Op == storage.OpDiscard:
		return r.end(c, storage.KindOK, 0)
	case errno == unix.EOPNOTSUPP && (r.stage == stagePunch || r.stage == stageZeroRange):
		if r.stage++; r.stage == stageZeroWrite && f.zeroes == nil {
			zeroes, err := unix.MapAnonymous(zeroesBytes)
			if err != nil {
				return r.end(c, storage.KindIO, errno)
			}
			f.zeroes = zeroes
		}
		f.zeroing = max(f.zeroing, r.stage)
		return false
	}
	kind := errnoKind(errno)
	// A block device cut short answers reads with nothing, and writes with
	// ENOSPC, as if it were a full file system.
	if f.stat.Block && (kind == storage.KindNoSpace || kind == storage.KindIO) {
		if now, err := unix.StatFile(f.fd); err != nil || now.Size < r.op.Offset+r.op.Length {
			kind = storage.KindGone
		}
	}
	return r.end(c, kind, errno)
}

func (r *running) end(c *storage.Completion, kind storage.Kind, errno uint32) bool {
	*c = storage.Completion{Tag: r.op.Tag, Kind: kind, Errno: errno, Done: r.done}
	return true
}

func errnoKind(errno uint32) storage.Kind {
	switch errno {
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
		return storage.KindNoSpace
	case unix.ENXIO, unix.ENODEV, unix.ENOMEDIUM:
		return storage.KindGone
	case unix.EPERM, unix.EACCES, unix.EROFS, unix.EBADF:
		return storage.KindPermission
	case unix.EOPNOTSUPP:
		return storage.KindUnsupported
	}
	return storage.KindIO
}

var _ storage.Device = (*File)(nil)
