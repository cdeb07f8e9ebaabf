package device

import (
	"fmt"

	"github.com/quintet-os/quintet/storage"
)

// Memory is a device in memory. Operations are executed by Reap, in the order of
// their submission.
type Memory struct {
	data  []byte
	info  storage.Info
	queue []storage.Operation
}

// NewMemory makes data a device with blocks of blockSize bytes. The length of
// data must be a whole number of blocks. The memory stays the caller's, and must
// stay mapped until Close.
func NewMemory(data []byte, blockSize, depth int) (*Memory, error) {
	switch {
	case blockSize < storage.BlockSizeMin || blockSize > storage.BlockSizeMax || blockSize&(blockSize-1) != 0:
		return nil, fmt.Errorf("storage device: memory: a block size of %d bytes is not supported", blockSize)
	case len(data) == 0 || len(data)%blockSize != 0:
		return nil, fmt.Errorf("storage device: memory: %d bytes is no whole number of blocks of %d", len(data), blockSize)
	case depth < 1 || depth > DepthMax:
		return nil, fmt.Errorf("storage device: memory: a depth of %d, want 1 to %d", depth, DepthMax)
	}
	return &Memory{
		data:  data,
		info:  storage.Info{Size: int64(len(data)), BlockSize: blockSize, Writable: true},
		queue: make([]storage.Operation, 0, depth),
	}, nil
}

// Info describes the device.
func (m *Memory) Info() storage.Info { return m.info }

// Attach pins nothing.
func (m *Memory) Attach([]byte) int { return storage.BufferNone }

// Detach does nothing.
func (m *Memory) Detach(int) {}

// Submit queues an operation.
func (m *Memory) Submit(op *storage.Operation) bool {
	if len(m.queue) == cap(m.queue) {
		return false
	}
	m.queue = append(m.queue, *op)
	return true
}

// Reap executes what is queued.
func (m *Memory) Reap(done []storage.Completion) int {
	n := min(len(done), len(m.queue))
	for i := range n {
		m.execute(&m.queue[i])
		done[i] = storage.Completion{Tag: m.queue[i].Tag, Done: m.queue[i].Length}
	}
	m.queue = append(m.queue[:0], m.queue[n:]...)
	return n
}

func (m *Memory) execute(op *storage.Operation) {
	switch op.Op {
	case storage.OpRead:
		copy(op.Mem, m.data[op.Offset:op.Offset+op.Length])
	case storage.OpWrite:
		copy(m.data[op.Offset:op.Offset+op.Length], op.Mem)
	case storage.OpWriteZeroes:
		clear(m.data[op.Offset : op.Offset+op.Length])
	}
}

// Wakeup returns -1: Reap is enough.
func (m *Memory) Wakeup() int { return -1 }

// Close forgets the memory.
func (m *Memory) Close() error {
	m.data = nil
	return nil
}

var _ storage.Device = (*Memory)(nil)
