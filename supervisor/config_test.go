package supervisor

import (
	"os"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/supervisor/topology"
)

func parse(t testing.TB, text string) *topology.Topology {
	t.Helper()
	parsed, err := topology.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestRightTo(t *testing.T) {
	s := &Supervisor{config: Config{Topology: parse(t, `version: 1
servers: {store: {kind: storage}}
volumes: {a: {server: store, memory: 1MiB}, b: {server: store, memory: 1MiB}}
applications:
  own: {volumes: {a: rw}}
  user: {user: 4711, volumes: {b: ro}}
  editor: {user: 4711, volumes: {b: rw}}
  all: {user: any, volumes: {a: ro}}
`)}}
	me := uint32(os.Geteuid())
	for _, c := range []struct {
		what           string
		volume, domain string
		uid            uint32
		granted        bool
		readOnly       bool
	}{
		{"the supervisor's user", "a", "", me, true, false},
		{"a stranger gets what all get", "a", "", 99, true, true},
		{"a stranger gets nothing more", "b", "", 99, false, false},
		{"of several grants the best", "b", "", 4711, true, false},
		{"a domain gets its own", "b", "user", me, true, true},
		{"and not its user's", "b", "own", 4711, false, false},
		{"a domain without grants", "a", "editor", me, false, false},
	} {
		got, granted := s.rightTo(c.volume, c.domain, unix.Peer{UID: c.uid})
		if granted != c.granted || got.readOnly != c.readOnly {
			t.Errorf("%s: granted %v, read-only %v", c.what, granted, got.readOnly)
		}
	}
	if mode := socketMode(s.config.Topology); mode != 0o666 {
		t.Errorf("others may connect, and the socket has mode %o", mode)
	}
}

func TestSocketIsPrivate(t *testing.T) {
	if mode := socketMode(parse(t, "version: 1\nservers: {store: {kind: storage}}\napplications: {own: {}}\n")); mode != 0o600 {
		t.Errorf("nobody else may connect, and the socket has mode %o", mode)
	}
}
