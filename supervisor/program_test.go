package supervisor

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
)

// misfits are programs that cannot replace a server, by their names. TestMain plays
// them.
var misfits = map[string]func(*broker.Conn, broker.Ready) error{
	"other-layout": func(c *broker.Conn, r broker.Ready) error {
		r.Layout = ipc.Layout + 1
		return errors.Join(c.Send(0, &r), c.WaitReadable())
	},
	"mute": func(*broker.Conn, broker.Ready) error { return errors.New("this program says nothing") },
	"short-lived": func(c *broker.Conn, r broker.Ready) error {
		r.Layout = ipc.Layout
		if err := c.Send(0, &r); err != nil {
			return err
		}
		_, err := c.Receive()
		return errors.Join(err, errors.New("this program does not live"))
	},
}

// TestProgramIsKept: whatever lies at the path of the program, a server that dies is
// replaced by what it was; a restart takes the new program, if it fits, and costs
// nothing if it does not.
func TestProgramIsKept(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	id, err := openSession(t, c)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	install := func(name string) {
		t.Helper()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.config.Binary = filepath.Join(dir, name)
		if name == "missing" {
			return
		}
		if err := copyProgram(s.config.Binary); err != nil {
			t.Fatal(err)
		}
	}
	restart := func() error {
		m, err := c.Ask(t.Context(), &broker.Control{Verb: VerbRestart, Target: "store"})
		m.CloseFDs()
		return err
	}
	store := s.servers[0]
	for i, misfit := range []struct{ name, reason string }{
		{"missing", "no such file"},
		{"other-layout", "layout"},
		{"mute", "does not start"},
		{"short-lived", "its process has died"},
	} {
		install(misfit.name)
		s.mu.Lock()
		generation, deaths := store.generation, store.deaths
		s.mu.Unlock()
		if err := restart(); err == nil || !strings.Contains(err.Error(), misfit.reason) {
			t.Errorf("%s: %v", misfit.name, err)
		}
		s.mu.Lock()
		if store.generation != generation || store.deaths != deaths {
			t.Errorf("%s: the server in service has been ended", misfit.name)
		}
		s.mu.Unlock()
		m, err := c.Ask(t.Context(), &broker.Control{Verb: VerbKill, Target: "store"})
		if err != nil {
			t.Fatal(err)
		}
		m.CloseFDs()
		if err := grant(t, c, id, i); err != nil {
			t.Fatalf("%s: after a death: %v", misfit.name, err)
		}
		wait(t, s)
	}
	install("later-release")
	if err := restart(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.config.Binary); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if state := s.State(); state.Servers[0].Release != "later-release" || state.Applications[0].Failed != 0 {
			t.Errorf("%+v", state)
		}
		m, err := c.Ask(t.Context(), &broker.Control{Verb: VerbKill, Target: "store"})
		if err != nil {
			t.Fatal(err)
		}
		m.CloseFDs()
		wait(t, s)
	}
}

func copyProgram(to string) error {
	from, err := os.Open(ownProgram)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
