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
}

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
	return storage.Info{Size: int64(len(d.disk.data)), BlockSize: blockBytes, Writable: true}
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
	if op.Op.Transfers() && d.buffers[op.Buffer] == nil {
		d.disk.world.fail(fmt.Errorf("operation %d uses buffer %d, which is not attached", op.Tag, op.Buffer))
	}
	d.queued = append(d.queued, *op)
	return true
}

func (d *device) Reap(done []storage.Completion) int {
	for i := range d.queued {
		d.disk.running = append(d.disk.running, &transfer{op: d.queued[i], dev: d})
	}
	d.queued = d.queued[:0]
	n := copy(done, d.finished)
	d.finished = d.finished[n:]
	return n
}

func (d *device) Wakeup() int  { return -1 }
func (d *device) Close() error { return nil }

// step moves a piece of a random operation, and ends it after its last piece:
// so operations complete in any order.
func (d *disk) step() {
	i := d.world.rng.IntN(len(d.running))
	t := d.running[i]
	if t.done < len(t.op.Mem) {
		if d.world.released(t.op.Mem) {
			d.world.fail(fmt.Errorf("operation %d touches memory that the server has let go of", t.op.Tag))
		}
		mem := t.op.Mem[t.done : t.done+pieceBytes]
		at := t.op.Offset + int64(t.done)
		if t.op.Op == storage.OpWrite {
			copy(d.data[at:], mem)
		} else {
			copy(mem, d.data[at:])
		}
		t.done += pieceBytes
		return
	}
	d.running[i] = d.running[len(d.running)-1]
	d.running = d.running[:len(d.running)-1]
	d.world.executed(&t.op)
	t.dev.finished = append(t.dev.finished, storage.Completion{Tag: t.op.Tag, Done: t.op.Length})
}
