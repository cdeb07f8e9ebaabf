package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/quintet-os/quintet/network"
)

const (
	// peersBinary is built from the module bench/peers and lies beside this binary.
	peersBinary = "quintet-bench-peers"
	// mtuLarge is the largest that all peers carry: an IP packet, less room for what
	// their buffers add.
	mtuLarge = 65000
)

// libraries: one stream, and messages back and forth, beside what other libraries
// offer to connect two programs in user space.
func (w *wire) libraries(ctx context.Context) (rows []Row, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(filepath.Dir(exe), peersBinary)
	if _, err := os.Stat(binary); err != nil {
		w.say("left out: the comparison with other libraries: %v (build it with make bench)", err)
		return nil, nil
	}
	for _, peer := range []struct{ name, between string }{{"gvisor-tap-vsock", "tap-vsock-switch"}, {"sharedmem", ""}} {
		for _, mtu := range []int{network.MTUDefault, mtuLarge} {
			pair := libraryPair(binary, peer.name, peer.between, mtu)
			beside := fmt.Sprintf("%s, MTU %d", peer.name, mtu)
			for _, work := range []tcpWork{streamWork, pingWork} {
				more, err := w.beside(ctx, work, beside, throughServer(), pair)
				rows = append(rows, more...)
				if err != nil {
					return rows, err
				}
			}
		}
	}
	return rows, nil
}

// libraryPair connects the programs by a library: with the side named between in the
// middle, or directly.
func libraryPair(binary, kind, between string, mtu int) *trafficPair {
	return &trafficPair{kind, func(ctx context.Context) (*trafficRoute, error) {
		dir, err := os.MkdirTemp("", "quintet-bench-")
		if err != nil {
			return nil, err
		}
		route := &trafficRoute{close: func() error { return os.RemoveAll(dir) }}
		t := task{binary: binary, Network: kind, Socket: filepath.Join(dir, "socket"), MTU: mtu}
		if between != "" {
			p, err := startSide(ctx, between, t, anyCPU)
			if err != nil {
				return nil, errors.Join(err, route.close())
			}
			route.pids = []int{p.command.Process.Pid}
			route.close = func() error { return errors.Join(p.release(), os.RemoveAll(dir)) }
			if err := waitForFile(ctx, t.Socket); err != nil {
				return nil, errors.Join(err, route.close())
			}
		}
		route.start = func(name string, work task, program int) (*process, error) {
			work.binary, work.Network, work.Socket, work.MTU, work.Program = t.binary, t.Network, t.Socket, t.MTU, program
			return startSide(ctx, name, work, anyCPU)
		}
		return route, nil
	}}
}

// waitForFile returns when a socket is there, without connecting to it.
func waitForFile(ctx context.Context, path string) error {
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", path, ctx.Err())
		case <-time.After(dialRetry):
		}
	}
}
