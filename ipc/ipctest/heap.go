package ipctest

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
)

// Heap is a System in one process, over memory of the Go heap. A server dies
// between two steps, or inside one by opDie.
type Heap struct {
	t       testing.TB
	clients []*ipc.Client
	configs []ipc.SessionConfig
	kills   chan chan struct{}
	ended   chan struct{}
	stop    context.CancelFunc
}

// NewHeap starts a system of that many sessions, which ends with the test.
func NewHeap(t testing.TB, sessions int) *Heap {
	h := &Heap{t: t, kills: make(chan chan struct{}), ended: make(chan struct{})}
	for i := range sessions {
		// The Go heap aligns memory of this size to pages.
		cfg := ipc.SessionConfig{ID: uint64(i), Geometry: Geometry,
			Client: make([]byte, Geometry.ClientBytes()), Server: make([]byte, Geometry.ServerBytes())}
		var err error
		if cfg.Doorbell, err = unix.CreateEventfd(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(cfg.Doorbell) })
		if err := errors.Join(ipc.FormatClient(cfg.Client, Geometry), ipc.FormatServer(cfg.Server, Geometry)); err != nil {
			t.Fatal(err)
		}
		client, err := ipc.NewClient(ipc.ClientConfig{Geometry: Geometry, Client: cfg.Client, Server: cfg.Server, Doorbell: cfg.Doorbell})
		if err != nil {
			t.Fatal(err)
		}
		h.configs, h.clients = append(h.configs, cfg), append(h.clients, client)
	}
	var ctx context.Context
	ctx, h.stop = context.WithCancel(context.Background())
	go h.supervise(ctx)
	t.Cleanup(func() {
		h.stop()
		<-h.ended
		for _, c := range h.clients {
			c.Close()
		}
	})
	h.Kill() // returns when a server serves
	return h
}

// Client returns the client of a session.
func (h *Heap) Client(session int) *ipc.Client { return h.clients[session] }

// Kill ends the server and returns when its successor serves.
func (h *Heap) Kill() {
	done := make(chan struct{})
	select {
	case h.kills <- done:
	case <-h.ended:
		return
	}
	select {
	case <-done:
	case <-h.ended:
	}
}

// supervise runs one server after the other.
func (h *Heap) supervise(ctx context.Context) {
	defer close(h.ended)
	var serving chan struct{} // closed when the next server serves
	for generation := uint64(1); ctx.Err() == nil; generation++ {
		life, die := context.WithCancel(ctx)
		dead := make(chan error, 1)
		go func(serving chan struct{}) { dead <- h.live(life, generation, serving) }(serving)
		var err error
		select {
		case serving = <-h.kills:
			die()
			err = <-dead
		case err = <-dead:
			serving = nil
		}
		die()
		if err != nil {
			h.t.Error(err)
			return
		}
	}
}

// live is one server, from birth to death.
func (h *Heap) live(ctx context.Context, generation uint64, serving chan struct{}) error {
	a := newAnswerer(generation, runtime.Goexit)
	l, err := ipc.NewLoop(ipc.LoopConfig{Core: a, Sessions: a.sessions})
	if err != nil {
		return err
	}
	for _, cfg := range h.configs {
		err = errors.Join(err, a.attach(l, cfg))
	}
	if serving != nil {
		close(serving)
	}
	// A step that dies takes its goroutine with it.
	died := make(chan error, 1)
	go func() {
		defer close(died)
		died <- l.Run(ctx)
	}()
	return errors.Join(err, <-died, l.Close())
}
