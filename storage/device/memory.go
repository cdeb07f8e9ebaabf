package device

import (
	"fmt"

	"github.com/quintet-os/quintet/storage"
)

// memoryReapBytes bounds what one Reap of a memory device does: some ten microseconds'
// worth, or a few hundred when memory is touched for the first time.
const memoryReapBytes = 256 << 10

// memoryPieceBytes is what is done of one operation before it is another's turn: short
// ones do not wait for the end of long ones.
const memoryPieceBytes = 64 << 10

// memoryOperationBytes is what an operation costs beside its bytes.
const memoryOperationBytes = 1 << 10

// Memory is a device in memory. Operations are executed by Reap, in bounded pieces and
// in rotation.
type Memory struct {
	data  []byte
	info  storage.Info
	queue []queued // a ring: count of them from first on
	first int
	count int
}

// queued is an operation of which the front has been done.
type queued struct {
	storage.Operation
	done int64
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
		queue: make([]queued, depth),
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
	if m.count == len(m.queue) {
		return false
	}
	m.push(queued{Operation: *op})
	return true
}

func (m *Memory) push(q queued) {
	m.queue[(m.first+m.count)%len(m.queue)] = q
	m.count++
}

func (m *Memory) pop() queued {
	q := m.queue[m.first]
	m.queue[m.first] = queued{}
	m.first = (m.first + 1) % len(m.queue)
	m.count--
	return q
}

// Reap executes some of what is queued.
func (m *Memory) Reap(done []storage.Completion) (n int) {
	for budget := int64(memoryReapBytes); n < len(done) && m.count > 0 && budget > 0; {
		q := m.pop()
		budget -= memoryOperationBytes + m.execute(&q)
		if q.done < q.Length {
			m.push(q)
			continue
		}
		done[n] = storage.Completion{Tag: q.Tag, Done: q.Length}
		n++
	}
	return n
}

// execute does the next piece of an operation, and returns how many bytes it has moved.
func (m *Memory) execute(q *queued) (moved int64) {
	from, to := q.done, min(q.done+memoryPieceBytes, q.Length)
	part := m.data[q.Offset+from : q.Offset+to]
	switch q.Op {
	case storage.OpRead:
		copy(q.Mem[from:to], part)
	case storage.OpWrite:
		copy(part, q.Mem[from:to])
	case storage.OpWriteZeroes:
		clear(part)
	default: // discarding and flushing are nothing to do
		q.done = q.Length
		return 0
	}
	q.done = to
	return to - from
}

// Busy tells whether something is queued.
func (m *Memory) Busy() bool { return m.count > 0 }

// Wakeup returns -1: Reap is enough.
func (m *Memory) Wakeup() int { return -1 }

// Close forgets the memory.
func (m *Memory) Close() error {
	m.data = nil
	return nil
}

var _ storage.Device = (*Memory)(nil)
