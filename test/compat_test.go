package test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/supervisor"
)

// TestCompat: programs that know nothing of Quintet talk to applications, with names.
func TestCompat(t *testing.T) {
	testenv.RequireRoot(t)
	s := Up(t, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {world: {network: lan, kind: user}}
applications:
  web: {networks: {lan: {}}}
  shell: {networks: {lan: {}}}
`)
	web := s.Network("web", "lan")
	l, err := web.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	serveHashes(t, l)
	own := web.Addresses()[0].Addr().String()
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(bytes.Repeat([]byte("x"), 1<<20)))
	for _, c := range []struct{ script, want string }{
		{"curl -sS --max-time 20 --data-binary @" + file + " http://" + own + "/", sum},
		{"curl -sS --max-time 20 --data-binary @" + file + " http://web/", sum},
		{"curl -sS -6 --max-time 20 --data-binary @" + file + " http://web/", sum},
		{"ping -c 2 -W 5 " + own, " 0% packet loss"},
		{"exit 7", "status 7"},
	} {
		out, said, status := s.quintet("run", "--compat", "--name", "shell", "--", "sh", "-c", c.script)
		if got := fmt.Sprintf("%s%s status %d", out, said, status); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.script, got)
		}
	}
}

// TestCompatOneFamily: a program whose application has addresses of one family only has
// routes and resolvers of that one.
func TestCompatOneFamily(t *testing.T) {
	testenv.RequireRoot(t)
	s := Up(t, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {world: {network: lan, kind: user}}
applications:
  four: {networks: {lan: {addresses: [10.77.0.9]}}}
  six: {networks: {lan: {addresses: ["fd00:7175:696e::9"]}}}
`)
	for name, c := range map[string]struct{ want, not string }{
		"four": {"10.77.0.1", "fd00:"}, "six": {"fd00:7175:696e::1", "10.77."},
	} {
		out, said, status := s.quintet("run", "--compat", "--name", name, "--",
			"sh", "-c", "cat /etc/resolv.conf; ip -4 route show default; ip -6 route show default")
		if status != 0 || strings.Count(out, c.want) != 2 || strings.Contains(out, c.not) {
			t.Errorf("%s: status %d\n%s%s", name, status, out, said)
		}
	}
}

// TestCompatLargestMTU: the largest MTU that a topology may have works, with whole
// packets of it.
func TestCompatLargestMTU(t *testing.T) {
	testenv.RequireRoot(t)
	s := Up(t, program, strings.Replace(twoGuests, "{server: net}", fmt.Sprintf("{server: net, mtu: %d}", network.MTUMax), 1))
	to := s.Network("shell", "lan").Addresses()[0].Addr().String()
	ping := fmt.Sprintf("ping -c 2 -W 5 -M do -s %d %s", network.MTUMax-28, to)
	out, said, status := s.quintet("run", "--compat", "--name", "web", "--", "sh", "-c", ping)
	if status != 0 || !strings.Contains(out, " 0% packet loss") {
		t.Errorf("status %d: %s%s", status, out, said)
	}
}

// TestCompatUnprivileged: the same without privileges, where the host allows it.
func TestCompatUnprivileged(t *testing.T) {
	testenv.RequireRoot(t) // to become somebody else
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "quintet.yaml")
	if err := os.WriteFile(file, []byte(`version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {world: {network: lan, kind: user}}
applications:
  web: {networks: {lan: {publish: ["127.0.0.1:18089:80"]}}}
  shell: {networks: {lan: {}}}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	up := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "up", "--state", state, "--file", file)
	var log bytes.Buffer
	up.Stdout, up.Stderr = &log, &log
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = up.Process.Signal(syscall.SIGTERM)
		if err := up.Wait(); err != nil || t.Failed() {
			t.Errorf("the system: %v\n%s", err, log.String())
		}
	}()
	s := &System{t: t, Dir: state, done: make(chan struct{})}
	s.Until("the uplink serves", func(state *supervisor.State) bool {
		return len(state.Uplinks) == 1 && state.Uplinks[0].Serving
	})
	a, err := app.Connect(t.Context(), app.WithSocket(s.Socket()), app.WithName("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	web, err := a.Network(t.Context(), "lan")
	if err != nil {
		t.Fatal(err)
	}
	l, err := web.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	serveHashes(t, l)
	post(t, new(net.Dialer).DialContext, "127.0.0.1:18089", 1<<20)
	run := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program,
		"run", "--state", state, "--compat", "--name", "shell", "--", "sh", "-c", "curl -sS --max-time 20 -d x http://web/ && ping -c 1 -W 5 "+web.Addresses()[0].Addr().String())
	out, said, status := result(t, run)
	if status != 0 || !strings.Contains(out, " 0% packet loss") {
		t.Errorf("status %d\n%s\n%s", status, out, said)
	}
}
