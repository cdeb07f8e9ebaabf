//go:build simulator

package sim

import (
	"fmt"

	"github.com/quintet-os/quintet/storage"
)

const (
	blockBytes = 512
	// pieceBytes is moved at once: half a block, so that two operations that
	// overlap in time leave torn blocks behind.
	pieceBytes = blockBytes / 2
	// deviceDepth is how many operations a device queues before it is full.
	deviceDepth = 5
)

// disk is what outlives servers: contents, and the operations in the kernel.
type disk struct {
	world   *world
	data    []byte
	running []*transfer
}

// transfer is an operation in the kernel.
type transfer struct {
	op   storage.Operation
	dev  *device
	done int // bytes moved
	// ends is where a fault strikes, at the end of a block; -1: nowhere.
	ends int
}

// errnoIO is EIO, which faults give.
const errnoIO = 5

// device is one server's open description of the disk; a storage.Device.
type device struct {
	disk     *disk
	buffers  map[int][]byte
	attached int
	queued   []storage.Operation
	finished []storage.Completion
}

func (d *disk) open() *device { return &device{disk: d, buffers: make(map[int][]byte)} }

func (d *device) Info() storage.Info {
	return storage.Info{Size: int64(len(d.disk.data)), BlockSize: blockBytes, Writable: true, Discard: true}
}

func (d *device) Attach(mem []byte) int {
	d.attached++
	d.buffers[d.attached] = mem
	return d.attached
}

func (d *device) Detach(buffer int) {
	for _, t := range d.disk.running {
		if t.dev == d && t.op.Buffer == buffer {
			d.disk.world.fail(fmt.Errorf("buffer %d was detached under operation %d", buffer, t.op.Tag))
		}
	}
	delete(d.buffers, buffer)
}

func (d *device) Submit(op *storage.Operation) bool {
	if len(d.queued) == deviceDepth {
		return false
	}
	if op.Op.Transfers() && op.Buffer != storage.BufferNone && d.buffers[op.Buffer] == nil {
		d.disk.world.fail(fmt.Errorf("operation %d uses buffer %d, which is not attached", op.Tag, op.Buffer))
	}
	d.queued = append(d.queued, *op)
	return true
}

func (d *device) Reap(done []storage.Completion) int {
	for i := range d.queued {
		d.disk.running = append(d.disk.running, d.disk.start(&d.queued[i], d))
	}
	d.queued = d.queued[:0]
	n := copy(done, d.finished)
	d.finished = d.finished[n:]
	return n
}

func (d *device) Busy() bool   { return false }
func (d *device) Wakeup() int  { return -1 }
func (d *device) Close() error { return nil }

// start begins an operation, and decides whether a fault strikes it: then it ends
// short, with an error.
func (d *disk) start(op *storage.Operation, dev *device) *transfer {
	w := d.world
	t := &transfer{op: *op, dev: dev, ends: -1}
	if w.plan.Faults > 0 && op.Op.Ranged() && w.rng.Float64() < w.plan.Faults {
		t.ends = w.rng.IntN(int(op.Length)/blockBytes) * blockBytes
		w.result.Faults++
	}
	return t
}

// step moves a piece of a random operation, and ends it after its last piece:
// so operations complete in any order.
func (d *disk) step() {
	i := d.world.rng.IntN(len(d.running))
	t := d.running[i]
	if t.done < int(t.op.Length) && t.done != t.ends {
		if len(t.op.Mem) > 0 && d.world.released(t.op.Mem) {
			d.world.fail(fmt.Errorf("operation %d touches memory that the server has let go of", t.op.Tag))
		}
		part := d.data[t.op.Offset+int64(t.done):][:pieceBytes]
		switch t.op.Op {
		case storage.OpRead:
			copy(t.op.Mem[t.done:], part)
		case storage.OpWrite:
			copy(part, t.op.Mem[t.done:])
		default:
			clear(part)
		}
		t.done += pieceBytes
		return
	}
	d.running[i] = d.running[len(d.running)-1]
	d.running = d.running[:len(d.running)-1]
	end := storage.Completion{Tag: t.op.Tag, Done: int64(t.done)}
	if t.ends >= 0 {
		end.Kind, end.Errno = storage.KindIO, errnoIO
	}
	d.world.executed(&t.op, &end)
	t.dev.finished = append(t.dev.finished, end)
}
