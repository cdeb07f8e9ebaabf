package ipctest

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quintet-os/quintet/ipc"
)

// ringsLoseNothing kills the server while frames go round, by SIGKILL or its like
// and between the publication of what it sends back and the release of what it
// took. Then frames come twice, but none is lost, and they come in order: each
// run begins no further back than the ring is long.
func ringsLoseNothing(t *testing.T, s System) {
	c := s.Client(0)
	out, in := c.Out(0), c.In(0)
	const total = 4000
	entries := uint64(Geometry.RingEntries)
	again, deadly := 0, uint64(0)
	for sent, next := uint64(0), uint64(0); next < total; {
		for sent < total && out.Free() > 0 {
			d := ipc.Descriptor{sent, sent * 3, 3: ^sent}
			if g := c.Inspect().Generation; sent%200 == 77 && g != deadly {
				d[2], deadly = g, g
			}
			out.Push(&d)
			sent++
			if sent%500 == 0 {
				out.Publish()
				s.Kill()
			}
		}
		out.Publish()
		var d ipc.Descriptor
		for in.Pop(&d) {
			switch n := d[0]; {
			case d[1] != n*3 || d[3] != ^n:
				t.Fatalf("descriptor %d is %v", next, d)
			case n > next || next-n > entries:
				t.Fatalf("descriptor %d came where %d was next", n, next)
			case n < next:
				again++
				next = n + 1
			default:
				next++
			}
		}
		in.Commit()
		if next < total {
			if err := c.WaitRings(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if again == 0 {
		t.Error("no server died between publication and release")
	}
}

// untilDrained waits until nothing is in flight, abandoned calls included.
func untilDrained(t *testing.T, c *ipc.Client) {
	for in := c.Inspect(); in.InFlight != 0 || in.Parked != 0; in = c.Inspect() {
		if in.Err != nil {
			t.Error(in.Err)
			return
		}
		runtime.Gosched()
	}
}

// cancelsUnderKills has callers give up at any moment while servers die. Who does
// not give up gets his reply, and all slots come back.
func cancelsUnderKills(t *testing.T, s System) {
	var canceled, answered atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithCancel(t.Context())
				if n%2 == 0 {
					go cancel()
				}
				req := ipc.Words{opEcho, n, uint64(i)}
				var got ipc.Words
				err := s.Client(i%Sessions).Call(ctx, &req, &got)
				cancel()
				switch {
				case err == nil && got == echoed(req):
					answered.Add(1)
				case n%2 == 0 && errors.Is(err, context.Canceled):
					canceled.Add(1)
				default:
					t.Errorf("sent %x, got %x, %v", req, got, err)
					return
				}
			}
		})
	}
	for range 10 {
		for was := answered.Load(); answered.Load() < was+100 && !t.Failed(); {
			runtime.Gosched()
		}
		s.Kill()
	}
	for canceled.Load() == 0 && !t.Failed() {
		runtime.Gosched()
	}
	close(stop)
	wg.Wait()
	for i := range Sessions {
		untilDrained(t, s.Client(i))
		call(t, s.Client(i))
	}
}

// crowdUnderKills has many more callers than slots.
func crowdUnderKills(t *testing.T, s System) {
	var wg sync.WaitGroup
	var answered atomic.Int64
	const callers, calls, kills = 300, 20, 5
	for range callers {
		wg.Go(func() {
			for range calls {
				if !call(t, s.Client(0)) {
					return
				}
				answered.Add(1)
			}
		})
	}
	for i := range int64(kills) {
		for answered.Load() < i*callers*calls/kills && !t.Failed() {
			runtime.Gosched()
		}
		s.Kill()
	}
	wg.Wait()
	untilDrained(t, s.Client(0))
}

// thousandSessions calls in all of many sessions at once, twice, and the server
// dies meanwhile and while all of them are idle.
func thousandSessions(t *testing.T, s System) {
	for range 2 {
		var wg sync.WaitGroup
		var answered atomic.Int64
		for i := range 1000 {
			wg.Go(func() {
				for range 4 {
					if !call(t, s.Client(i)) {
						return
					}
					answered.Add(1)
				}
			})
		}
		for answered.Load() < 1000 && !t.Failed() {
			runtime.Gosched()
		}
		s.Kill()
		wg.Wait()
		s.Kill()
	}
}
