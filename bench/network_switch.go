package bench

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/server"
)

// Descriptors of one port, in the order in which they are passed to a side.
const (
	portClient = iota
	portServer
	portRegion
	portDoorbell
	portFiles
)

// portMaker makes ports for a bare switch: a network server in a process of its
// own, without a supervisor. It keeps their descriptors.
type portMaker struct {
	configs []network.PortConfig
	buffers int
	files   [][portFiles]*os.File
}

// newPorts returns the memory and doorbells of so many ordinary ports.
func newPorts(configs []network.PortConfig, buffers int) (*portMaker, error) {
	m := &portMaker{configs: configs, buffers: buffers}
	for range configs {
		files, err := makePort(buffers)
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		m.files = append(m.files, files)
	}
	return m, nil
}

func makePort(buffers int) (files [portFiles]*os.File, err error) {
	g := network.Geometry(buffers)
	for i, segment := range []struct {
		name   string
		bytes  int
		format func([]byte) error
	}{
		{"client segment", g.ClientBytes(), func(mem []byte) error { return ipc.FormatClient(mem, g) }},
		{"server segment", g.ServerBytes(), func(mem []byte) error { return ipc.FormatServer(mem, g) }},
		{"region", network.RegionBytes(buffers), func([]byte) error { return nil }},
	} {
		s, err := shm.Create("bench", segment.bytes, shm.Shared)
		if err != nil {
			return files, err
		}
		files[i] = os.NewFile(uintptr(duplicate(s.FD)), segment.name)
		if err := errors.Join(segment.format(s.Mem), s.Close()); err != nil {
			return files, err
		}
	}
	bell, err := unix.CreateEventfd()
	if err != nil {
		return files, err
	}
	files[portDoorbell] = os.NewFile(uintptr(bell), "doorbell")
	return files, nil
}

// of returns the descriptors of some ports, for passing on.
func (m *portMaker) of(ports ...int) (files []*os.File) {
	for _, port := range ports {
		files = append(files, m.files[port][:]...)
	}
	return files
}

func (m *portMaker) all() []int {
	ports := make([]int, len(m.files))
	for i := range ports {
		ports[i] = i
	}
	return ports
}

func (m *portMaker) close() (err error) {
	for _, files := range m.files {
		for _, file := range files {
			if file != nil {
				err = errors.Join(err, file.Close())
			}
		}
	}
	return err
}

// startSwitch starts the switch of these ports.
func (m *portMaker) startSwitch(ctx context.Context, cpu int) (*process, error) {
	return startSide(ctx, "switch", task{Ports: m.configs, Buffers: m.buffers, CPU: cpu}, anyCPU, m.of(m.all()...)...)
}

// serveSwitch is the side of the switch.
func serveSwitch(t task) (any, error) {
	sessions := ipc.NewSessions()
	core := server.NewCore(sessions)
	loop, err := ipc.NewLoop(ipc.LoopConfig{Core: core, Sessions: sessions})
	if err != nil {
		return nil, err
	}
	for i, cfg := range t.Ports {
		session, err := switchSession(i, t.Buffers)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(core.Add(session, cfg), loop.Add(session)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- bound(t.CPU, func() error { return loop.Run(ctx) }) }()
	untilReleased()
	cancel()
	return nil, errors.Join(<-ended, loop.Close())
}

func switchSession(port, buffers int) (*ipc.Session, error) {
	mem, doorbell, err := mapPort(port, buffers)
	if err != nil {
		return nil, err
	}
	s, err := ipc.NewSession(ipc.SessionConfig{ID: uint64(port) + 1, Geometry: network.Geometry(buffers),
		Client: mem[portClient], Server: mem[portServer], Doorbell: doorbell})
	if err != nil {
		return nil, err
	}
	s.AddRegion(&ipc.Region{ID: network.RegionID, Mem: mem[portRegion], Writable: true})
	s.Attach(1)
	return s, nil
}

// mapPort maps a port whose descriptors this side was started with.
func mapPort(port, buffers int) (mem [portDoorbell][]byte, doorbell int, err error) {
	g := network.Geometry(buffers)
	first := sideFilesFirst + port*portFiles
	for i, bytes := range [portDoorbell]int{g.ClientBytes(), g.ServerBytes(), network.RegionBytes(buffers)} {
		segment, err := shm.Open(first+i, bytes, true)
		if err != nil {
			return mem, 0, err
		}
		mem[i] = segment.Mem
	}
	return mem, first + portDoorbell, nil
}

// openPort returns the client's end of a port whose descriptors this side was
// started with.
func openPort(port, buffers int) (*client.Port, *ipc.Client, error) {
	mem, doorbell, err := mapPort(port, buffers)
	if err != nil {
		return nil, nil, err
	}
	session, err := ipc.NewClient(ipc.ClientConfig{Geometry: network.Geometry(buffers),
		Client: mem[portClient], Server: mem[portServer], Doorbell: doorbell})
	if err != nil {
		return nil, nil, err
	}
	p, err := client.NewPort(session, mem[portRegion], buffers)
	if err != nil {
		return nil, nil, fmt.Errorf("port %d: %w", port+1, err)
	}
	return p, session, nil
}
