package server_test

import (
	"errors"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/device"
)

func TestTypedRefusals(t *testing.T) {
	b := newBench(t)
	c, reader := b.connect(false, storage.Limits{}), b.connect(true, storage.Limits{})
	cases := map[string]struct {
		client *tester
		r      storage.Request
		kind   storage.Kind
	}{
		"misaligned":              {c, storage.Request{Op: storage.OpRead, Offset: 1, Length: blockBytes}, storage.KindAlignment},
		"misaligned memory":       {c, storage.Request{Op: storage.OpRead, RegionOffset: 1, Length: blockBytes}, storage.KindAlignment},
		"past the volume":         {c, storage.Request{Op: storage.OpDiscard, Offset: volumeBytes, Length: blockBytes}, storage.KindBounds},
		"past the region":         {c, storage.Request{Op: storage.OpRead, RegionOffset: regionBytes, Length: blockBytes}, storage.KindBounds},
		"into read-only memory":   {c, storage.Request{Op: storage.OpRead, Region: 1, Length: blockBytes}, storage.KindPermission},
		"write without the right": {reader, write(0, 0), storage.KindPermission},
		"zeroing without it":      {reader, storage.Request{Op: storage.OpWriteZeroes, Length: blockBytes}, storage.KindPermission},
		"read with the right":     {reader, read(0, 0), storage.KindOK},
		"from read-only memory":   {c, storage.Request{Op: storage.OpWrite, Region: 1, Length: blockBytes}, storage.KindOK},
		"nothing":                 {c, storage.Request{Op: storage.OpRead}, storage.KindOK},
	}
	for name, test := range cases {
		call := test.client.start(test.r)
		b.settle()
		if got := test.client.reply(call).Kind; got != test.kind {
			t.Errorf("%s: %v, want %v", name, got, test.kind)
		}
	}
	if !b.core.Drained() {
		t.Error("refused requests are still held")
	}
}

func TestMalformedEndsThatSessionOnly(t *testing.T) {
	b := newBench(t)
	var failed []uint64
	b.core.Failed = func(s *ipc.Session, err error) { failed = append(failed, s.ID) }
	hostile, good := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
	hostile.raw(&ipc.Words{0xff})
	call := good.start(read(0, 0))
	b.settle()
	good.want(call, storage.KindOK)
	if err := hostile.ipc.Err(); !errors.Is(err, ipc.ErrSession) {
		t.Errorf("the hostile session: %v", err)
	}
	if len(failed) != 1 || failed[0] != hostile.served.ID {
		t.Errorf("failed sessions: %v", failed)
	}
	if !b.core.Drained() {
		t.Error("a task was lost")
	}
}

func TestOverlapWaitsForTheAnswer(t *testing.T) {
	b := newBench(t)
	c, other := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
	b.hold()
	first := c.start(write(0, 0))
	b.settle()
	overlapping, apart := other.start(read(0, 0)), other.start(read(1, 1))
	again := c.start(write(0, 1))
	flush := c.start(storage.Request{Op: storage.OpFlush})
	b.settle()
	if held := b.device.Held(); held != 3 {
		t.Fatalf("%d operations at the device, want the write, the read apart and the flush", held)
	}
	c.fill(0, 'A')
	c.fill(1, 'B')
	b.device.Release(1)
	b.settle()
	c.want(first, storage.KindOK)
	other.pending("the overlapping read, held", overlapping, apart)
	b.proceed()
	other.want(overlapping, storage.KindOK)
	other.want(apart, storage.KindOK)
	c.want(again, storage.KindOK)
	c.want(flush, storage.KindOK)
	if b.data[0] != 'B' || other.region[0] != 'A' && other.region[0] != 'B' {
		t.Errorf("the volume holds %q, the read saw %q", b.data[0], other.region[0])
	}
}

func TestLimitsMakeWait(t *testing.T) {
	b := newBench(t)
	c := b.connect(false, storage.Limits{Requests: 2, Bytes: 4 * blockBytes})
	b.hold()
	var calls []*ipc.Call
	for i := range int64(5) {
		calls = append(calls, c.start(read(i, i)))
	}
	b.settle()
	if held := b.device.Held(); held != 2 {
		t.Errorf("%d requests in flight, limit 2", held)
	}
	b.device.Release(1)
	b.settle()
	if held := b.device.Held(); held != 2 {
		t.Errorf("%d requests in flight after one was answered, limit 2", held)
	}
	b.proceed()
	for _, call := range calls {
		c.want(call, storage.KindOK)
	}
	b.hold()
	large := storage.Request{Op: storage.OpRead, Length: 3 * blockBytes}
	x, y := c.start(large), c.start(large)
	huge := c.start(storage.Request{Op: storage.OpRead, Length: 8 * blockBytes})
	b.settle()
	if held := b.device.Held(); held != 1 {
		t.Errorf("%d large requests in flight, the byte limit allows one", held)
	}
	b.proceed()
	for _, call := range []*ipc.Call{x, y, huge} {
		c.want(call, storage.KindOK)
	}
}

// TestGreedySessionDoesNotStarve: with a device that takes few at a time, a
// client with one request is served though another keeps all its slots full.
func TestGreedySessionDoesNotStarve(t *testing.T) {
	b := newBench(t)
	greedy, polite := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
	b.hold()
	keep := func() {
		for greedy.ipc.Inspect().InFlight < geometry.Slots {
			greedy.start(read(0, 0))
		}
	}
	keep()
	b.settle()
	one := polite.start(read(0, 0))
	b.settle()
	answered := 0
	for !one.Done() {
		if answered++; answered > 2*geometry.Slots {
			t.Fatal("the polite client was not served within two rounds of the greedy one's slots")
		}
		b.device.Release(1)
		b.settle()
	}
	b.proceed()
	polite.want(one, storage.KindOK)
}

func TestUnknownRegionIsWaitedFor(t *testing.T) {
	b := newBench(t)
	c := b.connect(false, storage.Limits{})
	r := read(0, 0)
	r.Region = 9
	early := c.start(r)
	b.settle()
	c.pending("a request ahead of its region", early)
	c.served.AddRegion(&ipc.Region{ID: 9, Mem: c.region, Writable: true})
	b.settle()
	c.want(early, storage.KindOK)
	r.Region = 10
	never := c.start(r)
	b.settle()
	b.now += 2 * time.Second
	b.settle()
	c.want(never, storage.KindRegion)
	after := c.start(read(0, 0))
	b.settle()
	c.want(after, storage.KindOK) // the session goes on
}

func TestRegionStaysUntilItsLastOperation(t *testing.T) {
	b := newBench(t)
	c := b.connect(false, storage.Limits{})
	b.hold()
	call := c.start(read(0, 0))
	b.settle()
	released := false
	b.core.RemoveRegion(c.served, 0, func() { released = true })
	b.settle()
	if released {
		t.Fatal("released under an operation")
	}
	b.proceed()
	c.want(call, storage.KindOK)
	if !released {
		t.Error("not released after the last operation")
	}
}

func TestSessionStaysUntilItsLastOperation(t *testing.T) {
	b := newBench(t)
	c, other := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
	b.hold()
	inflight, blocked := c.start(write(0, 0)), c.start(write(0, 1))
	b.settle()
	behind := other.start(read(0, 0))
	b.settle()
	released := false
	b.set.Remove(c.served)
	b.core.RemoveSession(c.served, func() { released = true })
	b.settle()
	if released {
		t.Fatal("released under an operation")
	}
	b.proceed()
	if !released || !b.core.Drained() {
		t.Error("not released after the last operation")
	}
	c.pending("a request of a removed session", inflight, blocked)
	other.want(behind, storage.KindOK)
}

func TestDeviceErrorStrikesItsRequestOnly(t *testing.T) {
	b := newBench(t)
	c := b.connect(false, storage.Limits{})
	b.device.Decide = func(op *storage.Operation) device.Verdict {
		if op.Offset == 2*blockBytes {
			return device.Verdict{Kind: storage.KindIO, Errno: unix.EIO}
		}
		return device.Verdict{}
	}
	var calls []*ipc.Call
	for i := range int64(4) {
		calls = append(calls, c.start(write(i, i)))
	}
	b.settle()
	for i, call := range calls {
		got := c.reply(call)
		want := storage.Reply{Done: blockBytes}
		if i == 2 {
			want = storage.Reply{Kind: storage.KindIO, Errno: unix.EIO}
		}
		if got != want {
			t.Errorf("write %d: %+v, want %+v", i, got, want)
		}
	}
	if n := b.core.Counters(c.served); n.Writes != 3 || n.Errors != 1 || n.Requests != 4 || n.BytesWritten != 3*blockBytes {
		t.Errorf("counters: %+v", n)
	}
}

// TestSuccessorRunsWhatWasBegunFirst: a write was executed and not answered; a
// read of the same block, not begun, must wait until it has been executed again.
func TestSuccessorRunsWhatWasBegunFirst(t *testing.T) {
	b := newBench(t)
	reader, writer := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
	b.hold()
	writer.fill(0, 'A')
	begun := writer.start(write(0, 0))
	b.settle()
	later := reader.start(read(0, 0))

	b.Successor()
	var order []storage.Op
	b.device.Record = func(op *storage.Operation, c *storage.Completion) {
		if c == nil {
			order = append(order, op.Op)
		}
	}
	b.settle()
	writer.want(begun, storage.KindOK)
	reader.want(later, storage.KindOK)
	if len(order) != 2 || order[0] != storage.OpWrite || reader.region[0] != 'A' {
		t.Errorf("executed %v, and the read saw %q", order, reader.region[0])
	}
	if n := b.core.Counters(writer.served); n.Replayed != 1 {
		t.Errorf("counters: %+v", n)
	}
}

// TestPoisonIsRefused: a request whose submission kills the server is tried
// three times; others of its session are served.
func TestPoisonIsRefused(t *testing.T) {
	b := newBench(t)
	c := b.connect(false, storage.Limits{})
	poison, good := c.start(write(0, 0)), (*ipc.Call)(nil)
	deaths := 0
	for ; !poison.Done(); deaths++ {
		if deaths > ipc.PoisonAttempts {
			t.Fatal("the poison is executed without end")
		}
		if deaths > 0 {
			b.Successor()
		}
		b.device.Decide = func(op *storage.Operation) device.Verdict {
			if op.Op == storage.OpWrite {
				panic("dies")
			}
			return device.Verdict{}
		}
		func() {
			defer func() { recover() }()
			b.settle()
		}()
		if good == nil {
			good = c.start(read(1, 1))
		}
	}
	c.want(poison, storage.KindPoison)
	c.want(good, storage.KindOK)
	if deaths-1 != ipc.PoisonAttempts {
		t.Errorf("refused after %d deaths, want %d", deaths-1, ipc.PoisonAttempts)
	}
}

// TestPardonedDeathsBlameNobody: killed from outside twice as often as poison may
// crash it, the server still executes the request it was at.
func TestPardonedDeathsBlameNobody(t *testing.T) {
	b := newBench(t)
	c := b.connect(false, storage.Limits{})
	innocent := c.start(write(0, 0))
	b.pardon = true
	for range 2 * ipc.PoisonAttempts {
		b.device.Decide = func(op *storage.Operation) device.Verdict { panic("killed") }
		func() {
			defer func() { recover() }()
			b.settle()
		}()
		b.Successor()
	}
	b.settle()
	c.want(innocent, storage.KindOK)
}

func TestDrain(t *testing.T) {
	b := newBench(t)
	c := b.connect(false, storage.Limits{})
	b.hold()
	inflight := c.start(read(0, 0))
	b.settle()
	b.core.Drain()
	waiting := c.start(read(1, 1))
	b.settle()
	if b.core.Drained() {
		t.Error("drained with a request in flight")
	}
	b.proceed()
	if c.want(inflight, storage.KindOK); !b.core.Drained() {
		t.Error("not drained")
	}
	c.pending("a request to a draining server", waiting)
	b.Successor()
	b.settle()
	c.want(waiting, storage.KindOK)
}
