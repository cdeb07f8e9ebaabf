package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network/networktest"
	"github.com/quintet-os/quintet/supervisor"
)

// twoHosts is a system with a network of two applications.
const twoHosts = `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
applications:
  alice: {networks: {lan: {}}}
  bob: {networks: {lan: {}}}
`

// TestApplicationsTalk: net/http from one application to another, by name and by
// address, in both families.
func TestApplicationsTalk(t *testing.T) {
	s := Up(t, program, twoHosts)
	alice, bob := s.Network("alice", "lan"), s.Network("bob", "lan")
	l, err := bob.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s from bob", r.URL.Path)
	})}
	go server.Serve(l)
	defer server.Close()
	hosts := []string{"bob", "bob.lan", "BOB"}
	for _, a := range bob.Addresses() {
		host := a.Addr().String()
		if a.Addr().Is6() {
			host = "[" + host + "]"
		}
		hosts = append(hosts, host)
	}
	if len(hosts) != 5 {
		t.Errorf("bob has the addresses %v, want one of each family", bob.Addresses())
	}
	client := &http.Client{Transport: &http.Transport{DialContext: alice.DialContext}, Timeout: patience}
	for _, host := range hosts {
		if got := get(t, client, "http://"+host+"/alice"); got != "hello /alice from bob" {
			t.Errorf("%s answers %q", host, got)
		}
	}
	if _, err := alice.DialContext(t.Context(), "tcp", "nobody:80"); !isNotFound(err) {
		t.Errorf("an unknown name: %v", err)
	}
	s.Until("the ports have counted", func(state *supervisor.State) bool {
		n := &state.Networks[0]
		return len(n.Ports) == 2 && n.Ports[0].Name == "alice" && n.Ports[0].Received > 0 && n.Ports[1].SentB > 0
	})
	for _, p := range s.State0().Networks[0].Ports {
		if len(p.Drops) > 0 {
			t.Errorf("frames of %s were dropped: %v", p.Name, p.Drops)
		}
	}
}

func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	answer, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

const (
	networkStreams   = 100
	networkKills     = 25
	networkKillsLong = 1000
	networkKillEvery = 200 * time.Millisecond
)

// TestNetworkStorm: a hundred connections stream hashed data between two applications
// while the server is killed. None breaks, and every byte arrives.
func TestNetworkStorm(t *testing.T) {
	kills := networkKills
	if os.Getenv("QUINTET_LONG") != "" {
		kills = networkKillsLong
	}
	s := Up(t, program, twoHosts)
	alice, bob := s.Network("alice", "lan"), s.Network("bob", "lan")
	storm(t, s, alice, bob, kills)
}

// storm streams from one application to another while their server is killed.
func storm(t *testing.T, s *System, from, to *app.Network, kills int) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d, %d kills", seed, kills)
	l, err := to.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	stop := make(chan struct{})
	var streams sync.WaitGroup
	var mu sync.Mutex // guards moved; a leaf
	var moved uint64
	addresses := to.Addresses()
	for n := range networkStreams {
		near, err := from.DialContext(t.Context(), "tcp", net.JoinHostPort(addresses[n%len(addresses)].Addr().String(), "7"))
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		streams.Go(func() {
			defer near.Close()
			if sent, err := networktest.Stream(near, seed+uint64(n), n%2 == 0, stop); err != nil {
				t.Errorf("connection %d after sending %d bytes: %v", n, sent, err)
			}
		})
		streams.Go(func() {
			defer far.Close()
			got, err := networktest.Verify(far, n%2 == 0)
			if err != nil {
				t.Errorf("connection %d after receiving %d bytes: %v", n, got, err)
			}
			mu.Lock()
			defer mu.Unlock()
			moved += got
		})
	}
	for last, killed := 0, 0; killed < kills; {
		time.Sleep(networkKillEvery) // the load between two deaths
		if pid := s.KillServer("net"); pid != 0 && pid != last {
			last = pid
			killed++
		}
	}
	close(stop)
	ended := make(chan struct{})
	go func() { streams.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(4 * patience):
		t.Fatal("streams hang")
	}
	state := s.Server("net")
	t.Logf("%d MB, %d deaths", moved>>20, state.Deaths)
	if state.Deaths < uint64(kills) {
		t.Errorf("%d deaths after %d kills", state.Deaths, kills)
	}
}

// TestNetworkRestartUnderLoad hands the ports over to a new process again and again.
func TestNetworkRestartUnderLoad(t *testing.T) {
	s := Up(t, program, twoHosts)
	alice, bob := s.Network("alice", "lan"), s.Network("bob", "lan")
	l, err := bob.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	near, err := alice.Dial("tcp", "bob:7")
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	failed := make(chan error, 2)
	go func() { _, err := networktest.Stream(near, 1, false, stop); failed <- err }()
	go func() { _, err := networktest.Verify(far, false); failed <- err }()
	for range 5 {
		if err := s.Control(supervisor.VerbRestart, "net", &supervisor.State{}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := errors.Join(<-failed, <-failed); err != nil {
		t.Error(err)
	}
}

// TestNetworkRefusals: what the topology does not allow, and addresses in use.
func TestNetworkRefusals(t *testing.T) {
	s := Up(t, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net, subnets: [10.5.0.0/29]}, dmz: {server: net}}
applications:
  fixed: {networks: {lan: {addresses: [10.5.0.6]}}}
  any: {networks: {lan: {}}}
  other: {networks: {dmz: {}}}
`)
	open := func(application, network string) (*app.Network, error) {
		return s.ConnectAs(application).Network(t.Context(), network)
	}
	refused := func(application, network string, code broker.Code) {
		t.Helper()
		n, err := open(application, network)
		if !errors.Is(err, &broker.Refused{Code: code}) {
			t.Errorf("%s in %s: %v, want a refusal (%s)", application, network, err, code)
		}
		if err == nil {
			n.Close()
		}
	}
	refused("any", "wan", broker.CodeNotFound)
	fixed := s.Network("fixed", "lan")
	if a := fixed.Addresses()[0].String(); a != "10.5.0.6/29" {
		t.Errorf("fixed has %s", a)
	}
	refused("fixed", "lan", broker.CodeConflict)
	// Of a /29, one address is the uplink's, one that of fixed: four are left.
	var all []*app.Network
	for range 4 {
		all = append(all, s.Network("any", "lan"))
	}
	refused("any", "lan", broker.CodeLimit)
	seen := map[string]bool{"10.5.0.6/29": true}
	for _, n := range all {
		a := n.Addresses()[0].String()
		if seen[a] {
			t.Errorf("%s was given away twice", a)
		}
		seen[a] = true
	}
	if err := all[0].Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := open("any", "lan"); err != nil {
		t.Errorf("after one has left: %v", err)
	} else if n.Addresses()[0] != all[0].Addresses()[0] {
		t.Errorf("the only free address is %v, %v was given", all[0].Addresses(), n.Addresses())
	}
	// Networks are apart: nobody answers in the other.
	dmz := s.Network("other", "dmz")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if c, err := dmz.DialContext(ctx, "tcp", "10.5.0.6:7"); err == nil {
		c.Close()
		t.Error("an application of one network reached one of another")
	}
}
