package nat

import (
	"math/rand/v2"
	"testing"
)

// Whatever connections come and go, what may wait in their buffers is bounded.
func TestBuffersAreBounded(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, memory := range []int64{0, 8 << 20, 64 << 20, 1 << 30, 1 << 40} {
		l := limitsOf(memory)
		var open []int
		sum, most := 0, 0
		for range 100_000 {
			if len(open) < l.connections && r.IntN(3) > 0 {
				open = append(open, 2*l.buffer(len(open)+1))
				sum += open[len(open)-1]
			} else if len(open) > 0 {
				i := r.IntN(len(open))
				sum -= open[i]
				open = append(open[:i], open[i+1:]...)
			}
			most = max(most, sum)
		}
		if bound := l.buffers + int64(l.connections)*2*bufferBytesMin; int64(most) > bound {
			t.Errorf("with %d bytes, buffers have %d, want at most %d", memory, most, bound)
		}
		if memory >= 64<<20 {
			if all := int64(most) + int64(l.connections)*connectionBytes + int64(l.pairs)*pairBytes; all > memory {
				t.Errorf("%d bytes are needed of %d", all, memory)
			}
		}
	}
}
