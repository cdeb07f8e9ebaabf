package server_test

import (
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/device"
)

// other sends a request to the second volume.
func other(r storage.Request) storage.Request {
	r.Volume = 1
	return r
}

// room makes a device keep back n operations and have no room for more.
func room(d *device.Tampered, n int) {
	d.Decide = func(*storage.Operation) device.Verdict {
		return device.Verdict{Full: d.Held() >= n, Hold: true}
	}
}

// TestOneVolumeHoldsUpNoOther: a session waits for a volume that does not move,
// because of its limit or because the device is full. What it asks of another
// volume, before and behind, is answered.
func TestOneVolumeHoldsUpNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		limits   storage.Limits
		room     int
		inflight int
	}{
		"limit":       {storage.Limits{Requests: 2}, 64, 2},
		"full device": {storage.Limits{}, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			client := b.connect(false, c.limits)
			room(b.device, c.room)
			var slow, quick []*ipc.Call
			for i := range int64(16) {
				slow = append(slow, client.start(read(i, i)))
				quick = append(quick, client.start(other(write(i, i))))
			}
			b.settle()
			for _, call := range quick {
				client.want(call, storage.KindOK)
			}
			client.pending("a request to the slow volume", slow...)
			if held := b.device.Held(); held != c.inflight {
				t.Errorf("%d requests with the slow device, want %d", held, c.inflight)
			}
			b.proceed()
			for _, call := range slow {
				client.want(call, storage.KindOK)
			}
			if !b.core.Drained() {
				t.Error("a task was lost")
			}
		})
	}
}

// TestManySessionsOnOneSlowVolume: more requests wait for one volume than any
// fixed pool would hold, and another volume serves their sessions.
func TestManySessionsOnOneSlowVolume(t *testing.T) {
	b := newBench(t)
	b.hold()
	var clients []*tester
	var slow []*ipc.Call
	for range 100 {
		c := b.connect(false, storage.Limits{})
		clients = append(clients, c)
		for i := range geometry.Slots - 1 {
			slow = append(slow, c.start(read(int64(i), int64(i))))
		}
	}
	b.settle()
	for _, c := range clients {
		call := c.start(other(read(0, 0)))
		b.settle()
		c.want(call, storage.KindOK)
	}
	clients[0].pending("a request to the slow volume", slow...)
	b.proceed()
	clients[0].want(slow[0], storage.KindOK)
	if !b.core.Drained() {
		t.Error("a task was lost")
	}
}

// TestRegionRevokedUnderAWaitingRequest: nothing holds the region of a request
// that only waits, so it is not touched afterwards.
func TestRegionRevokedUnderAWaitingRequest(t *testing.T) {
	b := newBench(t)
	c, reader := b.connect(false, storage.Limits{Requests: 1}), b.connect(false, storage.Limits{})
	b.hold()
	flush := c.start(storage.Request{Op: storage.OpFlush})
	b.settle()
	c.fill(0, 'A')
	c.start(write(0, 0))
	b.settle()
	released := false
	b.core.RemoveRegion(c.served, 0, func() { released = true })
	if !released {
		t.Fatal("a region nobody uses is not released")
	}
	b.proceed()
	c.want(flush, storage.KindOK)
	call := reader.start(read(0, 0))
	b.settle()
	if reader.want(call, storage.KindOK); reader.region[0] != 0 {
		t.Error("a revoked region was written from")
	}
}

// TestSuccessorRefusesARevokedRegion: what a dead server had begun in a region
// that is gone since is refused, at once and alone, and holds up nobody.
func TestSuccessorRefusesARevokedRegion(t *testing.T) {
	b := newBench(t)
	c, good := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
	b.hold()
	begun := c.start(write(0, 0))
	b.settle()
	b.Successor()
	c.served.RemoveRegion(0)
	call := good.start(read(0, 0))
	b.settle()
	good.want(call, storage.KindOK)
	c.want(begun, storage.KindRegion)
	flush := c.start(storage.Request{Op: storage.OpFlush})
	b.settle()
	c.want(flush, storage.KindOK)
}

// TestFairness counts what a device that takes few operations at a time does for
// two greedy clients, one with small and one with large requests, and for one modest
// client with a single request at a time beside them.
func TestFairness(t *testing.T) {
	t.Run("two greedy ones", func(t *testing.T) { fairness(t, false) })
	t.Run("and a modest one", func(t *testing.T) { fairness(t, true) })
}

func fairness(t *testing.T, besideModest bool) {
	const (
		rounds     = 4000 // operations ended by the device
		largeBytes = regionBytes / 4
		// A device of that depth is full of others' operations when a request
		// comes; then each of the two others has its turn.
		waitMax = depth + 2*8
	)
	b := newBench(t)
	small, large, modest := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
	room(b.device, depth)
	served := map[*tester]int{}
	keep := func(c *tester, r storage.Request, calls []*ipc.Call) []*ipc.Call {
		waiting := calls[:0]
		for _, call := range calls {
			if !call.Done() {
				waiting = append(waiting, call)
				continue
			}
			c.want(call, storage.KindOK)
			served[c]++
		}
		for len(waiting) < geometry.Slots {
			waiting = append(waiting, c.start(r))
		}
		return waiting
	}
	var ofSmall, ofLarge []*ipc.Call
	var one *ipc.Call
	asked, worst := 0, 0
	for round := range rounds {
		ofSmall = keep(small, read(0, 0), ofSmall)
		ofLarge = keep(large, storage.Request{Op: storage.OpRead, Length: largeBytes}, ofLarge)
		if one != nil && one.Done() {
			modest.want(one, storage.KindOK)
			served[modest]++
			worst = max(worst, round-asked)
			one = nil
		}
		if one == nil && besideModest {
			one, asked = modest.start(read(1, 1)), round
		}
		b.settle()
		b.device.Release(1)
		b.now += time.Millisecond
		b.settle()
	}
	t.Logf("of %d operations: small %d, large %d (of %d KiB), modest %d, which waited for %d at most",
		rounds, served[small], served[large], largeBytes>>10, served[modest], worst)
	if worst > waitMax {
		t.Errorf("the modest client waited for %d operations of others, want at most %d", worst, waitMax)
	}
	// A turn is 8 small requests, or 2 that move a MiB together. Beside somebody modest
	// the large ones go in pieces, which this device does not count.
	if s, l := served[small], served[large]; !besideModest && (s < 3*l || s > 5*l) {
		t.Errorf("%d small requests beside %d large ones, want about four times as many", s, l)
	}
}

// TestUnknownRegionHoldsUpNothingElse: what else the session asks is served meanwhile.
func TestUnknownRegionHoldsUpNothingElse(t *testing.T) {
	b := newBench(t)
	c := b.connect(false, storage.Limits{Requests: 2})
	unknown := read(0, 0)
	unknown.Region = 7
	var without, with []*ipc.Call
	for i := range int64(8) {
		without = append(without, c.start(unknown))
		with = append(with, c.start(read(i, i)))
	}
	b.settle()
	for _, call := range with {
		c.want(call, storage.KindOK)
	}
	c.pending("a request ahead of its region", without...)
	b.expectSleep()
	if at, ok := b.core.Deadline(); !ok || at != b.now+time.Second {
		t.Errorf("the core is to be stepped at %v (%v), want %v", at, ok, b.now+time.Second)
	}
	b.now += time.Second
	b.settle()
	for _, call := range without {
		c.want(call, storage.KindRegion)
	}
	if at, ok := b.core.Deadline(); ok {
		t.Errorf("nothing waits, and the core is to be stepped at %v", at)
	}
	left := c.start(unknown)
	b.settle()
	removed := false
	b.core.RemoveSession(c.served, func() { removed = true })
	if !removed || !b.core.Drained() || left.Done() {
		t.Error("a session that waits for a region does not end")
	}
}
