package network

import "github.com/quintet-os/quintet/ipc"

// Rings of a port's session; see the package comment.
const (
	RingSend = iota // client to server
	RingPost

	RingReceive = 0 // server to client
)

const (
	// RegionID is the number of the one region of a port.
	RegionID = 1
	// BuffersMin and BuffersMax bound the buffers of a port in each direction, a
	// power of two; BuffersDefault is what a client takes.
	BuffersMin     = 8
	BuffersMax     = 4096
	BuffersDefault = 128
	// BufferBytes is the size of one buffer: the largest frame, rounded up to an
	// odd number of cache lines, so that the headers of consecutive buffers do not
	// compete for the same set of a cache.
	BufferBytes = 1025 * lineBytes

	lineBytes = 64
)

// Geometry is that of the session of a port with so many buffers in each
// direction.
func Geometry(buffers int) ipc.Geometry {
	return ipc.Geometry{Slots: 1, RingsOut: 2, RingsIn: 1, RingEntries: buffers}
}

// CheckGeometry returns a KindGeometry error unless g is that of a port.
func CheckGeometry(g ipc.Geometry) error {
	n := g.RingEntries
	if n < BuffersMin || n > BuffersMax || n&(n-1) != 0 || g != Geometry(n) {
		return &Error{Kind: KindGeometry, Detail: "a port has 1 slot, 2 rings out, 1 in, and a power of two of buffers"}
	}
	return nil
}

// RegionBytes is the size of the region of such a port: its buffers for sending,
// then those for receiving.
func RegionBytes(buffers int) int { return 2 * buffers * BufferBytes }

// SendBuffer is the offset of the i-th buffer for sending.
func SendBuffer(i int) uint64 { return uint64(i) * BufferBytes }

// ReceiveBuffer is the offset of the i-th buffer for receiving.
func ReceiveBuffer(buffers, i int) uint64 { return uint64(buffers+i) * BufferBytes }
