package test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
)

// runUp runs `quintet up`, which must fail, and returns what it says.
func runUp(t *testing.T, dir, topology string) string {
	t.Helper()
	file := filepath.Join(dir, "other.yaml")
	if err := os.WriteFile(file, []byte(topology), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "up", "--state", dir, "--file", file).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("quintet up ended with %v:\n%s", err, out)
	}
	return string(out)
}

func mustSay(t *testing.T, said string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(said, word) {
			t.Errorf("it does not say %q:\n%s", word, said)
		}
	}
	if strings.Contains(said, "goroutine ") {
		t.Errorf("a stack trace is no error message:\n%s", said)
	}
}

func TestSecondSupervisor(t *testing.T) {
	s := Up(t, program, oneServer)
	said := runUp(t, s.Dir, oneServer)
	state, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	mustSay(t, said, s.Dir, "in use", "pid "+itoa(state.PID), "quintet down")
}

func TestMalformedTopology(t *testing.T) {
	said := runUp(t, shortDir(t), "version: 1\nservers:\n  store: {kind: storge}\n")
	mustSay(t, said, "other.yaml:3:", "storge", "storage")
}

func TestMissingDevice(t *testing.T) {
	said := runUp(t, shortDir(t), strings.Replace(oneServer, ", size: 64MiB, create: true", "", 1))
	mustSay(t, said, "volume data", "data.img", "no such file")
}

func TestBusyDevice(t *testing.T) {
	dir := shortDir(t)
	f, err := os.Create(filepath.Join(dir, "data.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if locked, err := unix.TryLockExclusive(int(f.Fd())); !locked || err != nil {
		t.Fatal(locked, err)
	}
	mustSay(t, runUp(t, dir, oneServer), "volume data", "in use", "lslocks")
}

// TestRefusedApplications: each is told why, and the one that behaves does not
// notice.
func TestRefusedApplications(t *testing.T) {
	s := Up(t, program, oneServer)
	load := StartLoad(s.Volume(s.Connect(), "data"), 4, 0, 5)

	t.Run("another version", func(t *testing.T) {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: s.Socket(), Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		conn := broker.NewConn(c)
		defer conn.Close()
		if err := unix.SendPacket(c, []byte(`{"v":99,"kind":"hello","ref":1,"body":{"name":"future"}}`)); err != nil {
			t.Fatal(err)
		}
		m, err := conn.Receive()
		if err != nil {
			t.Fatal(err)
		}
		refused, ok := m.Body.(*broker.Refused)
		if !ok || refused.Code != broker.CodeVersion || !strings.Contains(refused.Reason, "99") {
			t.Errorf("answered %+v", m.Body)
		}
		if _, err := conn.Receive(); err == nil {
			t.Error("the connection is still open")
		}
	})

	g := ipc.Geometry{Slots: 8}
	good := func(t *testing.T) *shm.Segment {
		t.Helper()
		segment, err := shm.Create("test", g.ClientBytes(), shm.OneWriter)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { segment.Close() })
		if err := ipc.FormatClient(segment.Mem, g); err != nil {
			t.Fatal(err)
		}
		return segment
	}
	memfd := func(t *testing.T, size int, seals int) int {
		t.Helper()
		fd, err := unix.CreateMemfd("test", int64(size))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.AddSeals(fd, seals); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	const fixed = unix.SealShrink | unix.SealGrow | unix.SealSeal
	connect := &broker.Connect{Volume: "data", Geometry: g}
	for name, c := range map[string]struct {
		ask  broker.Body
		fd   func(t *testing.T) int
		code broker.Code
	}{
		"unsealed segment": {connect, func(t *testing.T) int { return memfd(t, g.ClientBytes(), 0) }, broker.CodeMemory},
		"truncated segment": {connect, func(t *testing.T) int {
			return memfd(t, g.ClientBytes()-4096, fixed|unix.SealFutureWrite)
		}, broker.CodeMemory},
		"segment others can write": {connect, func(t *testing.T) int { return memfd(t, g.ClientBytes(), fixed) }, broker.CodeMemory},
		"no memory file": {connect, func(t *testing.T) int {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Close(); w.Close() })
			return int(r.Fd())
		}, broker.CodeMemory},
		"impossible geometry": {
			&broker.Connect{Volume: "data", Geometry: ipc.Geometry{Slots: 1 << 40}},
			func(t *testing.T) int { return good(t).FD }, broker.CodeLimit,
		},
		"no such volume": {
			&broker.Connect{Volume: "nothing", Geometry: g},
			func(t *testing.T) int { return good(t).FD }, broker.CodeNotFound,
		},
		"grant without a session": {
			&broker.Grant{Session: 1, Region: 0, Bytes: 4096, Writable: true},
			func(t *testing.T) int { return memfd(t, 4096, fixed) }, broker.CodeNotFound,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := s.Broker()
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			_, err = b.Ask(t.Context(), c.ask, c.fd(t))
			if !errors.Is(err, &broker.Refused{Code: c.code}) {
				t.Errorf("answered %v, want a refusal with code %s", err, c.code)
			}
		})
	}

	t.Run("bad regions", func(t *testing.T) {
		b, err := s.Broker()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		m, err := b.Ask(t.Context(), connect, good(t).FD)
		if err != nil {
			t.Fatal(err)
		}
		m.CloseFDs()
		session := m.Body.(*broker.Connected).Session
		for name, c := range map[string]struct {
			grant broker.Grant
			fd    int
			code  broker.Code
		}{
			"unsealed":     {broker.Grant{Bytes: 4096, Writable: true}, memfd(t, 4096, 0), broker.CodeMemory},
			"too short":    {broker.Grant{Bytes: 8192, Writable: true}, memfd(t, 4096, fixed), broker.CodeMemory},
			"too large":    {broker.Grant{Bytes: 1 << 60, Writable: true}, memfd(t, 4096, fixed), broker.CodeLimit},
			"negative":     {broker.Grant{Bytes: -1, Writable: true}, memfd(t, 4096, fixed), broker.CodeLimit},
			"bad number":   {broker.Grant{Region: 1 << 30, Bytes: 4096, Writable: true}, memfd(t, 4096, fixed), broker.CodeLimit},
			"not readonly": {broker.Grant{Bytes: 4096}, memfd(t, 4096, fixed), broker.CodeMemory},
		} {
			c.grant.Session = session
			if _, err := b.Ask(t.Context(), &c.grant, c.fd); !errors.Is(err, &broker.Refused{Code: c.code}) {
				t.Errorf("%s: answered %v, want a refusal with code %s", name, err, c.code)
			}
		}
	})

	for _, problem := range load.Stop() {
		t.Error(problem)
	}
	if deaths := s.Server("store").Deaths; deaths != 0 {
		t.Errorf("the server died %d times", deaths)
	}
}
