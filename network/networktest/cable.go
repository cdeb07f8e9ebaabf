package networktest

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/network/segment"
)

// Cable is what lies between the networks of two stacks.
type Cable struct {
	There, Back linktest.Impairment // from A to B, and from B to A
	// Cut makes super-segments frames of the MTU, so that each may be lost.
	Cut  bool
	Seed uint64
}

// cableFrames bounds the frames that wait at each end of a cable.
const cableFrames = 64

// Apart adds two stacks in networks of their own, with an uplink each and a cable
// between those, and starts the server.
func (r *Rig) Apart(c Cable) Peers {
	r.t.Helper()
	var stacks [2]*client.Stack
	var ends [2]*frames.Port
	for i := range ends {
		cfg := Host(i + 1)
		cfg.Network = i
		stacks[i] = r.StackOn(cfg)
		up := network.PortConfig{Network: i, MTU: cfg.MTU, MAC: network.MAC{2, 0xff, 0, 0, 0, byte(i)}, Uplink: true}
		m := r.Join(up, StackBuffers)
		var err error
		if ends[i], err = frames.NewPort(m.Client, m.Region, m.Buffers); err != nil {
			r.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.run(ctx, ends) })
	r.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	r.Serve()
	return Peers{A: stacks[0], B: stacks[1], IPs: Host(2).Addresses}
}

func (c *Cable) run(ctx context.Context, ends [2]*frames.Port) {
	start := time.Now()
	near, far := linktest.NewPipe(network.MTUMax)
	bad := linktest.Impair(near, c.Back, c.There, c.Seed, func() time.Duration { return time.Since(start) })
	var running sync.WaitGroup
	defer running.Wait()
	var arrived [2]chan link.Frame
	for i, p := range ends {
		arrived[i] = make(chan link.Frame, cableFrames)
		running.Go(func() { c.take(ctx, p, arrived[i]) })
	}
	for {
		// Neither of these ends can fail.
		c.carry(ctx, bad, ends[0])
		c.carry(ctx, far, ends[1])
		var due <-chan time.Time
		if at, ok := bad.Due(); ok {
			due = time.After(at - time.Since(start))
		}
		select {
		case f := <-arrived[0]:
			_, _ = bad.Transmit([]link.Frame{f})
		case f := <-arrived[1]:
			_, _ = far.Transmit([]link.Frame{f})
		case <-due:
			_ = bad.Flush()
		case <-ctx.Done():
			return
		}
	}
}

// take passes on what a port receives.
func (c *Cable) take(ctx context.Context, p *frames.Port, arrived chan<- link.Frame) {
	pass := func(f link.Frame) {
		select {
		case arrived <- f:
		case <-ctx.Done():
		}
	}
	for {
		n, err := p.Poll(cableFrames, func(data []byte, o network.Offload) {
			if !c.Cut || !segment.Check(data, len(data), o) {
				pass(link.Frame{Head: append([]byte{}, data...), Offload: o})
				return
			}
			var cutter segment.Cutter
			cutter.Reset(data, nil, o)
			for b := make([]byte, cutter.Longest()); ; b = make([]byte, len(b)) {
				n := cutter.Next(b)
				if n == 0 {
					return
				}
				pass(link.Frame{Head: b[:n]})
			}
		})
		if err == nil && n == 0 {
			err = p.Wait(ctx)
		}
		if err != nil {
			return
		}
	}
}

// carry sends what comes out of a link.
func (c *Cable) carry(ctx context.Context, from link.Link, to *frames.Port) {
	var frames [link.BatchMax]link.Frame
	for n := -1; n != 0; {
		n, _ = from.Receive(frames[:])
		for _, f := range frames[:n] {
			for !to.Send(f.Offload, f.Head, f.Rest) && ctx.Err() == nil {
				runtime.Gosched()
			}
		}
	}
}
