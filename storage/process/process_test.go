package process_test

import (
	"context"
	"testing"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/process/processtest"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/process"
)

const block = 4096

// TestSessionsComeAndGoUnderLoad: sessions are dropped with requests in flight and
// beyond their limits, their memory goes, and the others are served.
func TestSessionsComeAndGoUnderLoad(t *testing.T) {
	s := processtest.Start(t, process.Run)
	const bytes = 1 << 20
	s.Send(&broker.Volume{Name: "test", Handle: 7, Memory: true, Bytes: bytes, BlockSize: block}, s.Memory(bytes, shm.Shared).FD)
	g := ipc.Geometry{Slots: 16}
	terms := storage.Terms{Volume: 7, Limits: storage.Limits{Requests: 1}}
	stays := s.Connect(1, g, terms)
	region := s.Grant(1, 0, block)
	s.Status()
	s.Activate(1)
	write := func(c *ipc.Client) *ipc.Call {
		t.Helper()
		r := storage.Request{Op: storage.OpWrite, Length: block}
		words := ipc.Words(r.Encode())
		call, err := c.Start(context.Background(), &words)
		if err != nil {
			t.Fatal(err)
		}
		return call
	}
	for id := uint64(10); id < 40; id++ {
		goes := s.Connect(id, g, terms)
		if id%2 == 0 {
			s.Grant(id, 0, block)
		}
		for range g.Slots {
			write(goes)
		}
		s.Drop(id)
		region[0] = byte(id)
		var words ipc.Words
		if err := write(stays).Wait(t.Context(), &words); err != nil {
			t.Fatal(err)
		}
		plain := [7]uint64(words)
		if got := storage.DecodeReply(&plain, storage.RangeMax); got.Kind != storage.KindOK {
			t.Fatalf("answered %v", got)
		}
	}
	if len(s.Told) > 0 {
		t.Errorf("the server said %+v", s.Told)
	}
}
