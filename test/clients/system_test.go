package clients

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network/networktest"
)

// seed is that of all that is random in a test; QUINTET_SEED repeats it.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := rand.Uint64()
	if given, err := strconv.ParseUint(os.Getenv("QUINTET_SEED"), 10, 64); err == nil {
		n = given
	}
	t.Logf("seed %d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// storm replaces the network server at random times until the test is over, and
// counts.
func storm(t *testing.T, rig *networktest.Rig) (deaths *atomic.Int64) {
	t.Helper()
	r, end, ended := seed(t), make(chan struct{}), make(chan struct{})
	deaths = new(atomic.Int64)
	go func() {
		defer close(ended)
		for {
			select {
			case <-time.After(time.Duration(5+r.IntN(30)) * time.Millisecond):
				rig.Replace()
				deaths.Add(1)
			case <-end:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(end)
		<-ended
		if deaths.Load() == 0 {
			t.Error("no server has died")
		}
		t.Logf("%d servers died", deaths.Load())
	})
	return deaths
}

// deathsMin is how many servers die at least while a client works.
const deathsMin = 20

// pair is two stacks under a storm.
func pair(t *testing.T) (networktest.Peers, *atomic.Int64) {
	t.Helper()
	rig := networktest.New(t)
	p := rig.Pair()
	return p, storm(t, rig)
}

func each(t *testing.T, p networktest.Peers, f func(t *testing.T, ip netip.Addr)) {
	t.Helper()
	for _, ip := range p.IPs {
		t.Run(ip.String(), func(t *testing.T) { f(t, ip) })
	}
}

// random returns n bytes.
func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
