package ipctest

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quintet-os/quintet/ipc"
)

// Test is one thing that must hold.
type Test struct {
	Name     string
	Run      func(t *testing.T, s System)
	Sessions int // 0 means the constant Sessions
}

// Wants is the number of sessions of the system that the test needs.
func (t *Test) Wants() int { return max(t.Sessions, Sessions) }

// Tests is the suite. Each test gets a system of its own.
var Tests = []Test{
	{Name: "EveryWordTravels", Run: everyWordTravels},
	{Name: "ManyCallers", Run: manyCallers},
	{Name: "SleepersWake", Run: sleepersWake},
	{Name: "FullSessionPushesBack", Run: fullSessionPushesBack},
	{Name: "CanceledCallKeepsItsSlot", Run: canceledCallKeepsItsSlot},
	{Name: "KillsUnderLoad", Run: killsUnderLoad},
	{Name: "KillWhileAllWait", Run: killWhileAllWait},
	{Name: "PoisonIsAnswered", Run: poisonIsAnswered},
	{Name: "EndOfOneSession", Run: endOfOneSession},
	{Name: "CloseWakesCallers", Run: closeWakesCallers},
	{Name: "RingsKeepOrder", Run: ringsKeepOrder},
	{Name: "RingsLoseNothing", Run: ringsLoseNothing},
	{Name: "CancelsUnderKills", Run: cancelsUnderKills},
	{Name: "CrowdUnderKills", Run: crowdUnderKills},
	{Name: "ThousandSessions", Run: thousandSessions, Sessions: 1000},
}

// call sends an echo request with random words and checks the reply.
func call(t *testing.T, c *ipc.Client) bool {
	req := ipc.Words{opEcho, rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()}
	var got ipc.Words
	if err := c.Call(t.Context(), &req, &got); err != nil {
		t.Error(err)
		return false
	}
	if want := echoed(req); got != want {
		t.Errorf("sent %x, got %x, want %x", req, got, want)
		return false
	}
	return true
}

func everyWordTravels(t *testing.T, s System) {
	for range 1000 {
		if !call(t, s.Client(0)) || !call(t, s.Client(1)) {
			return
		}
	}
}

func manyCallers(t *testing.T, s System) {
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			for range 100 {
				if !call(t, s.Client(i%Sessions)) {
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range Sessions {
		if in := s.Client(i).Inspect(); in.InFlight != 0 || in.Parked != 0 || in.Err != nil {
			t.Errorf("session %d after the last reply: %+v", i, in)
		}
	}
}

// sleepersWake calls when the server has announced sleep, and each time waits
// until it has again.
func sleepersWake(t *testing.T, s System) {
	c := s.Client(0)
	for range 200 {
		for !c.Inspect().ServerSleeps {
			runtime.Gosched()
		}
		if !call(t, c) {
			return
		}
	}
}

// hold puts n requests into a session that stay unanswered.
func hold(t *testing.T, c *ipc.Client, n int) []*ipc.Call {
	t.Helper()
	var calls []*ipc.Call
	for range n {
		k, err := c.Start(t.Context(), &ipc.Words{opHold})
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, k)
	}
	return calls
}

// release has them answered, and takes the replies.
func release(t *testing.T, c *ipc.Client, calls []*ipc.Call) {
	t.Helper()
	if err := c.Call(t.Context(), &ipc.Words{opRelease}, nil); err != nil {
		t.Fatal(err)
	}
	for _, k := range calls {
		var got ipc.Words
		if err := k.Wait(t.Context(), &got); err != nil || got != (ipc.Words{opHold}) {
			t.Fatalf("a held request got %v, %v", got, err)
		}
	}
}

func fullSessionPushesBack(t *testing.T, s System) {
	c := s.Client(0)
	hold(t, c, Geometry.Slots)
	ctx, cancel := context.WithCancel(t.Context())
	blocked := make(chan error)
	go func() {
		_, err := c.Start(ctx, &ipc.Words{opEcho})
		blocked <- err
	}()
	cancel()
	if err := <-blocked; !errors.Is(err, context.Canceled) {
		t.Errorf("a call without a free slot gave %v", err)
	}
	if !call(t, s.Client(1)) {
		t.Error("a full session holds up another")
	}
	// Somebody waits for a slot, which the death of the server does not free.
	waits := make(chan error)
	go func() {
		_, err := c.Start(t.Context(), &ipc.Words{opEcho})
		waits <- err
	}()
	s.Kill()
	if in := c.Inspect(); in.InFlight != Geometry.Slots {
		t.Errorf("%d requests in flight, want %d", in.InFlight, Geometry.Slots)
	}
	c.Close()
	if err := <-waits; !errors.Is(err, ipc.ErrClosed) {
		t.Errorf("waiting for a slot of a session that is closed gave %v", err)
	}
}

func canceledCallKeepsItsSlot(t *testing.T, s System) {
	c := s.Client(0)
	ctx, cancel := context.WithCancel(t.Context())
	k := hold(t, c, 1)[0]
	cancel()
	if err := k.Wait(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait gave %v", err)
	}
	released := make(chan struct{})
	k.Abandon(func() { close(released) })
	s.Kill()
	select {
	case <-released:
		t.Fatal("the buffers were given back before the reply")
	default:
	}
	if in := c.Inspect(); in.InFlight != 1 {
		t.Errorf("%d requests in flight, want the abandoned one", in.InFlight)
	}
	release(t, c, nil)
	<-released
}

func killsUnderLoad(t *testing.T, s System) {
	var calls atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !call(t, s.Client(i%Sessions)) {
					return
				}
				calls.Add(1)
			}
		})
	}
	before := s.Client(0).Inspect().Generation
	for range 20 {
		for seen := calls.Load(); calls.Load() < seen+200 && !t.Failed(); {
			runtime.Gosched()
		}
		s.Kill()
	}
	close(stop)
	wg.Wait()
	if after := s.Client(0).Inspect().Generation; after < before+20 {
		t.Errorf("generation %d after 20 kills, %d before", after, before)
	}
}

func killWhileAllWait(t *testing.T, s System) {
	c := s.Client(0)
	calls := hold(t, c, Geometry.Slots-1)
	var waiting sync.WaitGroup
	for _, k := range calls[:20] {
		waiting.Go(func() {
			if err := k.Wait(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		for in := c.Inspect(); !in.ServerSleeps || !in.ClientSleeps; in = c.Inspect() {
			runtime.Gosched()
		}
		s.Kill()
	}
	release(t, c, calls[20:])
	waiting.Wait()
}

func poisonIsAnswered(t *testing.T, s System) {
	var got ipc.Words
	if err := s.Client(0).Call(t.Context(), &ipc.Words{opDie}, &got); err != nil {
		t.Fatal(err)
	}
	if got != (ipc.Words{opDie, ipc.PoisonAttempts}) {
		t.Errorf("a request that kills its server got %v", got)
	}
	call(t, s.Client(1))
	call(t, s.Client(0))
}

func endOfOneSession(t *testing.T, s System) {
	calls := hold(t, s.Client(0), 1)
	var ended *ipc.SessionError
	if err := s.Client(0).Call(t.Context(), &ipc.Words{opEnd}, nil); !errors.As(err, &ended) || ended.Reason != ipc.ReasonRequest {
		t.Errorf("the ended session gave %v", err)
	}
	for range 2 {
		if err := calls[0].Wait(t.Context(), nil); !errors.Is(err, ipc.ErrSession) {
			t.Errorf("a call in the ended session gave %v", err)
		}
		if !call(t, s.Client(1)) {
			t.Error("the other session ended too")
		}
		s.Kill()
	}
}

func closeWakesCallers(t *testing.T, s System) {
	c := s.Client(0)
	var wg sync.WaitGroup
	for _, k := range hold(t, c, 30) {
		wg.Go(func() {
			if err := k.Wait(t.Context(), nil); !errors.Is(err, ipc.ErrClosed) {
				t.Errorf("a call in a closed session gave %v", err)
			}
		})
	}
	c.Close()
	wg.Wait()
	call(t, s.Client(1))
}

func ringsKeepOrder(t *testing.T, s System) {
	c := s.Client(0)
	out, in := c.Out(0), c.In(0)
	const total = 5000
	for sent, got := uint64(0), uint64(0); got < total; {
		for sent < total && out.Push(&ipc.Descriptor{sent, sent * 3, 3: ^sent}) {
			sent++
		}
		out.Publish()
		var d ipc.Descriptor
		for in.Pop(&d) {
			if d != (ipc.Descriptor{got, got * 3, 3: ^got}) {
				t.Fatalf("descriptor %d is %v", got, d)
			}
			got++
		}
		in.Commit()
		if got < total {
			if err := c.WaitRings(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}
