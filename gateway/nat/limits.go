package nat

// MemoryDefault is what a gateway counts on whose memory is not limited.
const MemoryDefault = 2 << 30

const (
	// A gateway carries at most so many connections of TCP, both ways, and pairs of ends
	// of UDP, if its memory allows: connectionBytes and pairBytes are what one costs
	// beside what waits in its buffers, for stacks of goroutines, the copies under way
	// and what the TCP/IP stack knows of it.
	connectionsMax  = 4096
	pairsMax        = 4096
	connectionBytes = 96 << 10
	pairBytes       = 160 << 10
	// placesMin is what there is of both however little memory there is.
	placesMin = 16

	// Bounds of each of the two buffers of a connection, bytes.
	bufferBytesMin, bufferBytesMax = 16 << 10, 1 << 20
	// harmonic is no less than the sum of 1/n for n up to connectionsMax.
	harmonic = 9
)

// limits are the bounds of a gateway.
type limits struct {
	connections, pairs int
	buffers            int64 // bytes of all buffers of connections
}

// limitsOf divides memory: a quarter for connections, an eighth for pairs, three eighths
// for buffers, were all of them taken and full. The rest is the program's.
func limitsOf(memory int64) limits {
	if memory <= 0 {
		memory = MemoryDefault
	}
	return limits{
		connections: int(min(connectionsMax, max(memory/4/connectionBytes, placesMin))),
		pairs:       int(min(pairsMax, max(memory/8/pairBytes, placesMin))),
		buffers:     memory * 3 / 8,
	}
}

// buffer is what a connection that makes n of them gets for each of its two buffers. The
// n-th of those that are open at any time was opened as the n-th or later, so all of
// them together have no more than buffers, but for the least that each has.
func (l limits) buffer(n int) int {
	return int(min(bufferBytesMax, max(l.buffers/2/harmonic/int64(max(n, 1)), bufferBytesMin)))
}
