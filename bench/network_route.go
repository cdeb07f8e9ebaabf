package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network"
)

// trafficPair is a way to connect two programs. It starts whatever is between
// them, and says how each is started.
type trafficPair struct {
	name string
	open func(ctx context.Context) (*trafficRoute, error)
}

// trafficRoute is an open trafficPair.
type trafficRoute struct {
	start func(name string, t task, program int) (*process, error) // program 0 or 1
	pids  []int                                                    // of the processes in between
	close func() error

	running *system // in between, if it is a system; and its server's process
	server  int
}

// measure lets the two programs do some work.
func (p *trafficPair) measure(ctx context.Context, t task) (f figures, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Duration+sideGrace)
	defer cancel()
	route, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, route.close()) }()
	serving, err := route.start("traffic-to", t, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, serving.release()) }()
	t.PIDs = append(slices.Clone(route.pids), serving.command.Process.Pid)
	sending, err := route.start("traffic-from", t, 0)
	if err != nil {
		return nil, err
	}
	return f, sending.result(&f)
}

// throughServer is a whole system, with the network server between the programs.
func throughServer() *trafficPair {
	return &trafficPair{"quintet", func(ctx context.Context) (*trafficRoute, error) { return openServer(ctx, 2) }}
}

// openServer starts a system with so many programs on one network.
func openServer(ctx context.Context, programs int) (*trafficRoute, error) {
	dir, err := os.MkdirTemp("", "quintet-bench-")
	if err != nil {
		return nil, err
	}
	running, err := startSystem(ctx, dir, trafficServer, trafficTopology(programs))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	route := &trafficRoute{running: running, close: func() error { return errors.Join(running.stop(), os.RemoveAll(dir)) }}
	state, err := running.ready(ctx)
	if err != nil {
		return nil, errors.Join(err, route.close())
	}
	for _, pid := range running.processes(state) {
		route.pids = append(route.pids, pid)
	}
	route.server = state.PID
	route.start = func(name string, t task, program int) (*process, error) {
		t.Network, t.Socket, t.Program = "quintet", route.socket(), program
		return startSide(ctx, name, t, anyCPU)
	}
	return route, nil
}

func (r *trafficRoute) socket() string { return broker.SocketPath(r.running.dir) }

// vethPair is the kernel's TCP over a cable between two namespaces.
func vethPair() *trafficPair {
	return &trafficPair{"veth", func(ctx context.Context) (*trafficRoute, error) {
		var spaces [2]*netns.Namespace
		route := &trafficRoute{close: func() (err error) {
			for _, space := range spaces {
				if space != nil {
					err = errors.Join(err, space.Close())
				}
			}
			return err
		}}
		var ends [2]netns.Interface
		for i := range spaces {
			var err error
			if spaces[i], err = netns.New(); err != nil {
				return nil, errors.Join(err, route.close())
			}
			ends[i] = netns.Interface{Name: fmt.Sprintf("traffic%d", i+1), MTU: network.MTUDefault, Addresses: []netip.Prefix{netip.PrefixFrom(trafficAddress(i), trafficBits)}}
		}
		if err := spaces[0].Veth(ends[0], spaces[1], ends[1]); err != nil {
			return nil, errors.Join(err, route.close())
		}
		var err error
		if route.pids, err = softirqThreads(); err != nil {
			return nil, errors.Join(err, route.close())
		}
		route.start = func(name string, t task, program int) (*process, error) {
			t.Network, t.Program = "kernel", program
			return startSideIn(ctx, spaces[program], name, t)
		}
		return route, nil
	}}
}

// softirqThreads are the kernel's threads for packets that no process's own time
// was left to handle. Elsewhere softirqs count as time of the process they
// interrupt, as long as the kernel does not account for them apart.
func softirqThreads() (pids []int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(text), "ksoftirqd/") {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/comm", &pid); err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
