package server_test

import (
	"testing"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

const idleTurns, idleTurnsMax = 999, 20

// expectSleep plays the loop while nothing rings and no device completes anything.
func (b *bench) expectSleep() {
	b.t.Helper()
	awake := 0
	for turn := range uint64(idleTurns) {
		if !b.core.Step(b.now) && b.set.Cool(turn+1, 1) == 0 {
			continue
		}
		b.set.WakeClients()
		awake++
	}
	if awake > idleTurnsMax {
		b.t.Errorf("the server is awake in %d of %d idle turns", awake, idleTurns)
	}
}

// What the server cannot or will not take now does not keep it on the processor, and
// is taken when it can.
func TestWaitingRequestsKeepNobodyAwake(t *testing.T) {
	for name, test := range map[string]struct {
		limits   storage.Limits
		requests int64
	}{
		"over the limit of requests": {storage.Limits{Requests: 2}, 12},
		"over the limit of bytes":    {storage.Limits{Bytes: 2 * blockBytes}, 12},
		"on a full device":           {storage.Limits{}, 3 * depth},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			c := b.connect(false, test.limits)
			c.single = true
			b.Successor()
			b.hold()
			var calls []*ipc.Call
			for i := range test.requests {
				calls = append(calls, c.start(write(i, i)))
			}
			b.expectSleep()
			c.pending("what the device holds", calls...)
			for range test.requests {
				b.device.Release(1)
				b.expectSleep()
			}
			b.proceed()
			for _, call := range calls {
				c.want(call, storage.KindOK)
			}
			b.expectSleep()
		})
	}
	t.Run("on both of its volumes", func(t *testing.T) {
		b := newBench(t)
		c := b.connect(false, storage.Limits{Requests: 1})
		b.hold()
		var calls []*ipc.Call
		for i := range int64(8) {
			r := write(i, i)
			calls = append(calls, c.start(r))
			r.Volume = 1
			calls = append(calls, c.start(r))
		}
		b.expectSleep()
		b.proceed()
		b.expectSleep()
		for _, call := range calls {
			c.want(call, storage.KindOK)
		}
	})
	t.Run("while draining", func(t *testing.T) {
		b := newBench(t)
		c := b.connect(false, storage.Limits{})
		b.hold()
		taken := c.start(write(0, 0))
		b.settle()
		b.core.Drain()
		left := c.start(write(1, 1))
		b.expectSleep()
		b.proceed()
		b.expectSleep()
		c.want(taken, storage.KindOK)
		c.pending("a request after Drain", left)
		if !b.core.Drained() {
			t.Error("not drained")
		}
		b.Successor()
		b.expectSleep()
		c.want(left, storage.KindOK)
	})
	t.Run("in rings that nobody reads", func(t *testing.T) {
		b := newBench(t)
		c := b.connectOf(ipc.Geometry{Slots: 64, RingsOut: 1, RingsIn: 1, RingEntries: 4}, false, storage.Limits{})
		c.ipc.Out(0).Push(&ipc.Descriptor{})
		c.ipc.Out(0).Publish()
		b.expectSleep()
		b.set.Wake(c.served)
		call := c.start(write(0, 0))
		b.expectSleep()
		c.want(call, storage.KindOK)
	})
}
