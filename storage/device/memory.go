package device

import (
	"fmt"

	"github.com/quintet-os/quintet/storage"
)

// memoryReapBytes bounds what one Reap of a memory device does: some ten microseconds'
// worth, or a few hundred when memory is touched for the first time.
const memoryReapBytes = 256 << 10

// memoryOperationBytes is what an operation costs beside its bytes.
const memoryOperationBytes = 1 << 10

// Memory is a device in memory. Operations are executed by Reap, in the order of
// their submission and in bounded pieces.
type Memory struct {
	data  []byte
	info  storage.Info
	queue []storage.Operation
	done  int64 // bytes of the first operation
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

// Reap executes some of what is queued.
func (m *Memory) Reap(done []storage.Completion) (n int) {
	budget := int64(memoryReapBytes)
	for n < len(done) && n < len(m.queue) && budget > 0 {
		op := &m.queue[n]
		budget -= memoryOperationBytes + m.execute(op, max(budget, 1))
		if m.done < op.Length {
			break
		}
		m.done = 0
		done[n] = storage.Completion{Tag: op.Tag, Done: op.Length}
		n++
	}
	m.queue = append(m.queue[:0], m.queue[n:]...)
	return n
}

// execute goes on with an operation for so many bytes at most, and returns how many it
// has moved.
func (m *Memory) execute(op *storage.Operation, limit int64) (moved int64) {
	from, to := m.done, min(m.done+limit, op.Length)
	part := m.data[op.Offset+from : op.Offset+to]
	switch op.Op {
	case storage.OpRead:
		copy(op.Mem[from:to], part)
	case storage.OpWrite:
		copy(part, op.Mem[from:to])
	case storage.OpWriteZeroes:
		clear(part)
	default: // discarding and flushing are nothing to do
		m.done = op.Length
		return 0
	}
	m.done = to
	return to - from
}

// Busy tells whether something is queued.
func (m *Memory) Busy() bool { return len(m.queue) > 0 }

// Wakeup returns -1: Reap is enough.
func (m *Memory) Wakeup() int { return -1 }

// Close forgets the memory.
func (m *Memory) Close() error {
	m.data = nil
	return nil
}

var _ storage.Device = (*Memory)(nil)
