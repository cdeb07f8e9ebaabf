package test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/network/link/linktest"
)

// family are a process and all that descend from it, parents first.
func family(t *testing.T, pid int) []int {
	t.Helper()
	children := make(map[int][]int)
	all, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range all {
		stat, err := os.ReadFile("/proc/" + each.Name() + "/stat")
		if err != nil {
			continue // no process, or none any more
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		child, _ := strconv.Atoi(each.Name())
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], child)
	}
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

func signalAll(t *testing.T, pids []int, signal syscall.Signal) {
	t.Helper()
	for _, pid := range pids {
		p, err := os.FindProcess(pid)
		if err == nil {
			err = p.Signal(signal)
		}
		if err != nil {
			t.Errorf("%v to %d: %v", signal, pid, err)
		}
	}
}

const (
	// silenceMax is how long a server may be silent here, and looks more than the time
	// between two looks at it.
	silenceMax = 3 * time.Second
	looks      = 300 * time.Millisecond
)

// TestSuspend: a system that was stopped as a whole, for longer than a server may be
// silent, goes on as it was: nobody is taken for hung, and connections live on.
func TestSuspend(t *testing.T) {
	system, world := linktest.NewNamespace(t), linktest.NewNamespace(t)
	if err := system.Veth(netns.Interface{Name: "cable", Addresses: prefixes(systemEnd + "/24")}, world,
		netns.Interface{Name: "cable", Addresses: prefixes(worldEnd + "/24")}); err != nil {
		t.Fatal(err)
	}
	s := UpIn(t, system, program, `version: 1
supervisor: {heartbeat_timeout: `+silenceMax.String()+`}
servers: {net: {kind: network}, store: {kind: storage}}
networks: {lan: {server: net}}
volumes: {data: {server: store, memory: 16MiB}}
uplinks: {world: {network: lan, kind: user}}
applications:
  web: {networks: {lan: {}}, volumes: {data: rw}}
  shell: {networks: {lan: {}}}
`)
	web := s.Network("web", "lan")
	l, err := web.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	args := s.compat("shell", "python3", "-c", fmt.Sprintf(`import socket
s = socket.create_connection(("%s", 80))
while True:
    b = s.recv(100)
    if not b: break
    s.sendall(b)`, web.Addresses()[0].Addr()))
	shell := exec.Command(args[0], args[1:]...)
	shell.Stderr = os.Stderr
	if err := system.Start(shell); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	outward, inward := startTalk(t, web, world, netip.MustParseAddr(worldEnd)), talkOn(t, c)
	before := s.State0()

	supervisor := []int{s.up.Process.Pid}
	others := append(family(t, supervisor[0])[1:], family(t, shell.Process.Pid)...)
	signalAll(t, others, syscall.SIGSTOP)
	time.Sleep(looks) // the supervisor has seen their last sign of life
	signalAll(t, supervisor, syscall.SIGSTOP)
	time.Sleep(silenceMax * 3 / 2)
	signalAll(t, supervisor, syscall.SIGCONT)
	time.Sleep(looks) // it looks at them before they go on
	signalAll(t, others, syscall.SIGCONT)
	outward.goesOn()
	inward.goesOn()
	after := s.State0()
	for i, each := range after.Servers {
		if was := before.Servers[i]; each.PID != was.PID || each.StandbyPID != was.StandbyPID || each.Hangs != 0 {
			t.Errorf("server %s was %+v, and is %+v", each.Name, was, each)
		}
	}
	if was, is := before.Uplinks[0], after.Uplinks[0]; was.PID != is.PID || !is.Serving {
		t.Errorf("the uplink was %+v, and is %+v", was, is)
	}
	_ = shell.Process.Signal(syscall.SIGTERM)
	_ = shell.Wait()
}
