package process_test

import (
	"testing"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/process/processtest"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/networktest"
	"github.com/quintet-os/quintet/network/process"
)

const buffers = 8

type host struct {
	network.PortConfig
	ipc  *ipc.Client
	port *frames.Port
}

func join(t *testing.T, s *processtest.Supervisor, id int) *host {
	t.Helper()
	h := &host{PortConfig: networktest.Host(id)}
	h.Row = id
	h.ipc = s.Connect(uint64(id), network.Geometry(buffers), h.PortConfig)
	region := s.Grant(uint64(id), network.RegionID, network.RegionBytes(buffers))
	var err error
	if h.port, err = frames.NewPort(h.ipc, region, buffers); err != nil {
		t.Fatal(err)
	}
	return h
}

// exchange sends a frame and waits for it.
func exchange(t *testing.T, from, to *host) {
	t.Helper()
	f := networktest.IPv4(to.MAC, from.MAC, from.Addresses[0], to.Addresses[0], 17, []byte("12345678 a frame"))
	if !from.port.Send(network.Offload{}, f) {
		t.Fatal("no room")
	}
	for got := 0; got == 0; {
		if _, err := to.port.Poll(1, func([]byte, network.Offload) { got++ }); err != nil {
			t.Fatal(err)
		}
		if got == 0 {
			if err := to.ipc.WaitRings(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestHeldPortsAreDropped: a port that the switch holds goes, its memory with it, and the
// server goes on. This is what any application can do.
func TestHeldPortsAreDropped(t *testing.T) {
	s := processtest.Start(t, process.Run)
	s.Status()
	s.Send(&broker.Counters{Bytes: network.KeptBytes}, s.Memory(network.KeptBytes, shm.Shared).FD)
	early := s.Connect(1, network.Geometry(buffers), networktest.Host(1))
	a, b := join(t, s, 2), join(t, s, 3)
	s.Activate(1)
	for id := uint64(10); id < 40; id++ {
		if early == nil {
			cfg := networktest.Host(int(id))
			cfg.Row = 1
			early = s.Connect(id, network.Geometry(buffers), cfg)
		}
		early.Out(network.RingSend).Push(&ipc.Descriptor{}) // before its region: it is held
		early.Out(network.RingSend).Publish()
		exchange(t, a, b)
		if id == 10 {
			s.Drop(1)
		} else {
			s.Drop(id)
		}
		exchange(t, b, a)
		early = nil
	}
}
