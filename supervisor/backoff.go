package supervisor

import (
	"time"

	"github.com/quintet-os/quintet/supervisor/topology"
)

// backoff delays the restarts of a server that dies again and again before it
// has done anything. It never gives up. A server that made progress in its last
// life is restarted at once, however often it dies.
type backoff struct {
	topology.Backoff
	failures int // in a row, without progress
}

// failed counts a death without progress and returns the delay before the next
// attempt: nothing after the first, then First, doubling up to Limit.
func (b *backoff) failed() time.Duration {
	b.failures++
	if b.failures < 2 {
		return 0
	}
	d := b.First
	for range b.failures - 2 {
		if d *= 2; d >= b.Limit {
			return b.Limit
		}
	}
	return min(d, b.Limit)
}

// progressed forgets the failures.
func (b *backoff) progressed() { b.failures = 0 }
