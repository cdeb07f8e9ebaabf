package storage

// Device is a block device, used asynchronously: what a server drives. It
// belongs to one thread.
//
// Submit queues, Reap starts what is queued and collects what has ended. Every
// submitted operation completes exactly once, with its own result.
type Device interface {
	// Info describes the device as measured when it was opened.
	Info() Info
	// Attach announces memory that operations will use, so that the device can
	// pin it once. The result is passed in Operation.Buffer. Attaching never
	// fails: where the device cannot pin (limits, no slot), it is slower.
	Attach(mem []byte) (buffer int)
	// Detach forgets memory. No operation in flight may use it.
	Detach(buffer int)
	// Submit queues an operation. False when the queue is full: nothing was
	// done, and there is room after a Reap that returned something. Operations
	// must be valid (see Request.Check); op is copied.
	Submit(op *Operation) bool
	// Reap starts the queued operations, never blocks, fills done with what has
	// completed and returns how many. What it does itself is bounded, whatever the
	// operations are.
	Reap(done []Completion) int
	// Wakeup is a descriptor that becomes readable, edge-triggered, when there
	// is something to reap; it is never read. -1 when all work is done in Reap.
	Wakeup() int
	// Busy tells whether there is something to do that only a further Reap will do, and
	// of which nobody will be told.
	Busy() bool
	// Close releases everything. No operation may be in flight.
	Close() error
}

// Operation is one operation on a device.
type Operation struct {
	Tag    uint64 // the caller's, returned in the Completion
	Op     Op     // not OpInfo
	Flags  Flags
	Buffer int    // from Attach; the memory Mem lies in. BufferNone if none
	Mem    []byte // reads and writes: the memory, in place; untouched until started, the device's until completed
	Offset int64  // bytes
	Length int64  // bytes; len(Mem) for reads and writes
	Piece  int64  // of a read or write: bytes that the device may have to do at a time, a multiple of its block size; 0: all
}

// BufferNone says that an operation's memory was not attached.
const BufferNone = -1

// Completion is the end of one operation.
type Completion struct {
	Tag   uint64
	Kind  Kind
	Errno uint32
	Done  int64 // bytes, counted from the front; Length when Kind is KindOK
}
