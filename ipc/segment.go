package ipc

import "fmt"

// Layout is the version of what sessions hold in shared memory: a server whose layout
// is another cannot take a session over.
const Layout = 1

const (
	magic   = 0x3174_6574_6e69_7551 // "Quintet1"
	version = Layout

	stateOpen = 0
	// A server segment's state is stateOpen or failedBit | Reason.
	failedBit = 1 << 32
)

// FormatClient writes the header of a fresh client segment. The client calls it
// once, before it shows the segment to anybody.
func FormatClient(mem []byte, g Geometry) error { return format(mem, g, g.ClientBytes()) }

// FormatServer writes the header of a fresh server segment. The supervisor calls
// it once, before it hands the segment to anybody.
func FormatServer(mem []byte, g Geometry) error { return format(mem, g, g.ServerBytes()) }

func format(mem []byte, g Geometry, size int) error {
	if err := checkSegment(mem, g, size); err != nil {
		return err
	}
	m := newMemory(mem)
	m.publish(offVersion, version)
	m.publish(offMagic, magic)
	return nil
}

func checkSegment(mem []byte, g Geometry, size int) error {
	if err := g.Check(); err != nil {
		return err
	}
	if len(mem) < size {
		return fmt.Errorf("%w: a segment of %d bytes, need %d", ErrGeometry, len(mem), size)
	}
	return nil
}

func checkHeader(m memory) error {
	if got := m.load(offMagic); got != magic {
		return fmt.Errorf("%w: it starts with %#x", ErrVersion, got)
	}
	if got := m.load(offVersion); got != version {
		return fmt.Errorf("%w: it has %d, this program speaks %d; use the same release of Quintet on both sides", ErrVersion, got, version)
	}
	return nil
}
