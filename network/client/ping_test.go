package client_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/networktest"
)

func TestPing(t *testing.T) {
	r := networktest.New(t)
	p := r.Pair()
	a := p.A.(*client.Stack)
	for _, ip := range append(p.IPs, networktest.Host(2).MAC.LinkLocal()) {
		for _, size := range []int{0, 56, 1400, 20_000} {
			if _, err := a.Ping(t.Context(), ip, make([]byte, size), time.Second); err != nil {
				t.Errorf("%v, %d bytes: %v", ip, size, err)
			}
		}
	}
	// While nobody serves, requests are sent again, and the wait ends with the context.
	r.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var op *net.OpError
	if sent, err := a.Ping(ctx, p.IPs[0], nil, time.Millisecond); !errors.As(err, &op) || !errors.Is(err, context.DeadlineExceeded) || sent == 0 {
		t.Errorf("%d requests, and %v", sent, err)
	}
	r.Succeed()
	r.Serve()
	if _, err := a.Ping(t.Context(), p.IPs[0], []byte("again"), time.Millisecond); err != nil {
		t.Error(err)
	}
	if _, err := a.Ping(t.Context(), netip.MustParseAddr("192.0.2.1"), nil, time.Second); !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("an address without a route: %v", err)
	}
}
