package test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/supervisor"
)

// serveDHCP runs a DHCP server behind the world's end of the cable.
func serveDHCP(t *testing.T, world *netns.Namespace, arguments ...string) (stop func()) {
	t.Helper()
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		testenv.Skip(t, err.Error()+"; see tools/packages.txt")
	}
	server := exec.Command("dnsmasq", append([]string{"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=cable", "--bind-interfaces",
		"--user=root", "--pid-file=", "--log-facility=-", "--leasefile-ro", "--dhcp-authoritative"}, arguments...)...)
	var log bytes.Buffer
	server.Stdout, server.Stderr = &log, &log
	if err := world.Start(server); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = server.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("the DHCP server says:\n%s", log.String())
		}
	})
	return stop
}

// TestDHCPUplink: the addresses of applications come from a DHCP server behind the
// uplink, stay over deaths of the server and of the uplink, and over the absence of its
// interface, and go back in the end.
func TestDHCPUplink(t *testing.T) {
	system, world := linktest.NewNamespace(t), linktest.NewNamespace(t)
	lay := func() {
		t.Helper()
		far := netns.Interface{Name: "cable", MAC: outsideMAC, Addresses: prefixes(worldEnd + "/24")}
		if err := system.Veth(netns.Interface{Name: "cable"}, world, far); err != nil {
			t.Fatal(err)
		}
	}
	lay()
	stop := serveDHCP(t, world, "--dhcp-range=192.0.2.50,192.0.2.51,255.255.255.0,1h", "--dhcp-option=option:router,"+worldEnd)
	serveIn(t, world, worldEnd+":80")
	s := UpIn(t, system, program, `version: 1
servers: {net: {kind: network}}
networks: {office: {server: net}}
uplinks: {cable: {network: office, kind: packet, interface: cable, dhcp: true}}
applications: {test: {networks: {office: {}}}}
`)
	n := s.Network("test", "office")
	i := n.Interface()
	if len(i.Addresses) != 1 || !strings.HasPrefix(i.Addresses[0].String(), "192.0.2.5") || i.Addresses[0].Bits() != 24 ||
		len(i.Gateways) != 1 || i.Gateways[0].String() != worldEnd {
		t.Errorf("the DHCP server gave %+v", i)
	}
	post(t, n.DialContext, worldEnd+":80", 1<<20)
	s.KillServer("net")
	post(t, n.DialContext, worldEnd+":80", 1<<20)
	before := s.uplink("cable")
	s.KillServer("cable")
	s.Until("another uplink serves", func(state *supervisor.State) bool {
		return state.Uplinks[0].Serving && state.Uplinks[0].PID != before.PID
	})
	post(t, n.DialContext, worldEnd+":80", 1<<20)
	ip(t, system, "link", "delete", "cable")
	s.troubled("waiting for interface cable", false)
	lay()
	s.troubled("", true)
	post(t, n.DialContext, worldEnd+":80", 1<<20)
	// The server has two addresses. One that was given back can be had again.
	second := s.Network("test", "office")
	if second.Interface().Addresses[0] == i.Addresses[0] {
		t.Errorf("both ports have %v", i.Addresses)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third := s.Network("test", "office")
	post(t, third.DialContext, worldEnd+":80", 1<<10)
	// Without a server there is no port, and the application is told why.
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
	began := time.Now()
	if got, err := s.ConnectAs("test").Network(t.Context(), "office"); err == nil {
		t.Errorf("without a DHCP server the addresses are %v", got.Addresses())
	} else if !strings.Contains(err.Error(), "DHCP server behind uplink cable") {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
