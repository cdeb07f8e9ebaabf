package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/supervisor"
)

// TestGrantsDoNotStarveTheServer: what an application grants is charged to the server,
// which touches it first, and still does not take from the server's memory.
func TestGrantsDoNotStarveTheServer(t *testing.T) {
	requireCgroups(t)
	const granted = 192 << 20
	s := Up(t, program, `version: 1
servers: {store: {kind: storage, memory: 24MiB}}
volumes: {data: {server: store, file: data.img, size: 192MiB, create: true}}
applications: {test: {volumes: {data: rw}}}
`)
	v := s.Volume(s.Connect(), "data", app.BufferBytes(granted))
	for range 2 {
		b, err := v.Buffers().Get(t.Context(), granted)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.ReadBuffer(t.Context(), b, 0, granted, 0); err != nil {
			t.Error(err)
		}
		b.Release()
	}
	if state := s.Server("store"); state.Deaths != 0 || state.Starved != 0 {
		t.Errorf("%d deaths, %d of them for want of memory", state.Deaths, state.Starved)
	}
}

// TestStarvedServerBacksOff: a server that the kernel kills for what it uses is
// replaced ever more slowly, and the reason is told.
func TestStarvedServerBacksOff(t *testing.T) {
	requireCgroups(t)
	s := Up(t, program, `version: 1
supervisor: {backoff: {first: 2s, limit: 1m}}
servers: {store: {kind: storage, memory: 24MiB}}
volumes: {data: {server: store, memory: 1MiB}}
applications: {test: {volumes: {data: rw}}}
`)
	for range 2 {
		starve(t, s.Server("store").PID)
		s.Until("the server has been killed", func(state *supervisor.State) bool {
			store := state.Servers[0]
			return store.Phase == supervisor.PhaseBackingOff || store.Phase == supervisor.PhaseServing && store.Warm
		})
	}
	s.Until("the server waits", func(state *supervisor.State) bool { return state.Servers[0].Phase == supervisor.PhaseBackingOff })
	if store := s.Server("store"); store.Starved != 2 || !strings.Contains(store.LastDeath, "memory") {
		t.Errorf("%d deaths for want of memory; the last: %s", store.Starved, store.LastDeath)
	}
}

// starve has the kernel kill a process for what its group uses: something else in the
// group uses it.
func starve(t *testing.T, pid int) {
	t.Helper()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	group := ""
	for line := range strings.Lines(string(groups)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch controllers, path, _ := strings.Cut(rest, ":"); {
		case controllers == "memory":
			group = filepath.Join("/sys/fs/cgroup/memory", path)
		case controllers == "" && group == "":
			group = filepath.Join("/sys/fs/cgroup", path)
		}
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0); err != nil {
		t.Fatal(err)
	}
	hog := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs" && exec tail /dev/zero`, group)
	_ = hog.Run() // it is killed after the server
}
