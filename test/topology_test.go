package test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/sandbox"
	"github.com/quintet-os/quintet/storage"
)

// TestTopologyTakesEffect: each key of quintet.yaml that a running system can
// show. The others: heartbeat_timeout and backoff in package supervisor, command,
// directory and environment in TestRun.
func TestTopologyTakesEffect(t *testing.T) {
	s := Up(t, program, `version: 1
servers:
  store: {kind: storage, memory: 256MiB}
  lone: {kind: storage, standby: false}
volumes:
  narrow: {server: store, memory: 1MiB, block_size: 16KiB}
  wide: {server: store, file: wide.img, size: 8MiB, create: true, block_size: 8KiB}
  fixed: {server: lone, memory: 1MiB}
applications:
  test: {volumes: {narrow: rw, wide: rw}, limits: {requests: 7, bytes: 1MiB}}
grants:
  - {to: test, volume: fixed, access: ro, limits: {requests: 3, bytes: 64KiB}}
`)
	a := s.Connect()
	t.Run("block_size and size", func(t *testing.T) {
		for name, want := range map[string][2]int64{"narrow": {1 << 20, 16 << 10}, "wide": {8 << 20, 8 << 10}} {
			v := s.Volume(a, name)
			if info := v.Info(); info.Size != want[0] || int64(info.BlockSize) != want[1] {
				t.Errorf("volume %s: %+v, want %v", name, info, want)
			}
			_, err := v.WriteAt(make([]byte, 4096), 4096)
			if !errors.Is(err, storage.KindAlignment) {
				t.Errorf("volume %s: a quarter of a block: %v", name, err)
			}
		}
	})
	t.Run("access", func(t *testing.T) {
		if _, err := a.Volume(t.Context(), "fixed"); !errors.Is(err, &broker.Refused{Code: broker.CodeDenied}) {
			t.Errorf("opened for writing: %v", err)
		}
		v := s.Volume(a, "fixed", app.ReadOnly())
		if _, err := v.WriteAt(make([]byte, 4096), 0); !errors.Is(err, storage.KindPermission) {
			t.Errorf("a write: %v", err)
		}
	})
	t.Run("limits", func(t *testing.T) {
		for volume, want := range map[string]storage.Limits{"narrow": {Requests: 7, Bytes: 1 << 20}, "fixed": {Requests: 3, Bytes: 64 << 10}} {
			if got := s.Volume(a, volume, app.ReadOnly()).Limits(); got != want {
				t.Errorf("volume %s: %+v, want %+v", volume, got, want)
			}
		}
	})
	t.Run("standby", func(t *testing.T) {
		if lone := s.Server("lone"); lone.StandbyPID != 0 {
			t.Errorf("there is a standby, pid %d", lone.StandbyPID)
		}
		v := s.Volume(a, "fixed", app.ReadOnly())
		s.KillServer("lone")
		if _, err := v.ReadAt(make([]byte, 4096), 0); err != nil {
			t.Errorf("after a death: %v", err)
		}
	})
	t.Run("memory of a server", func(t *testing.T) {
		requireCgroups(t)
		// With it comes what its volume in memory has, and what is granted to it.
		got, err := strconv.ParseInt(memoryLimit(t, s.Server("store").PID), 10, 64)
		if err != nil || got < 257<<20 || got > 1<<30 {
			t.Errorf("the limit is %d, %v", got, err)
		}
	})
}

// TestNarrowerThanTheFile: a volume may be the beginning of what is there.
func TestNarrowerThanTheFile(t *testing.T) {
	image := filepath.Join(shortDir(t), "image")
	if err := os.WriteFile(image, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := Up(t, program, fmt.Sprintf(`version: 1
servers: {store: {kind: storage}}
volumes: {data: {server: store, file: %s, size: 1MiB, read_only: true}}
applications: {test: {volumes: {data: ro}}}
`, image))
	v := s.Volume(s.Connect(), "data", app.ReadOnly())
	if info := v.Info(); info.Size != 1<<20 || info.Writable {
		t.Errorf("%+v", info)
	}
	if _, err := v.Read(t.Context(), make([]byte, 4096), 1<<20); !errors.Is(err, storage.KindBounds) {
		t.Errorf("a read beyond the end: %v", err)
	}
}

// TestMemoryOfAnApplication: the program that `quintet run` starts has the limit,
// and its group goes with it.
func TestMemoryOfAnApplication(t *testing.T) {
	requireCgroups(t)
	s := Up(t, program, strings.Replace(oneServer, "test: {", "test: {memory: 64MiB, ", 1))
	run := exec.Command(program, "run", "--state", s.Dir, "--name", "test", "--", "sh", "-c", "echo $$; read line")
	in, err := run.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	run.Stderr = os.Stderr
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(bufio.NewReader(out), &pid); err != nil {
		t.Fatal(err)
	}
	if got := memoryLimit(t, pid); got != "67108864" {
		t.Errorf("the limit is %s", got)
	}
	fmt.Fprintln(in)
	if err := run.Wait(); err != nil {
		t.Error(err)
	}
}

func requireCgroups(t *testing.T) {
	t.Helper()
	if _, err := sandbox.CgroupSupport(); err != nil {
		testenv.Skip(t, err.Error())
	}
}

// memoryLimit reads the limit of the group that a process is in.
func memoryLimit(t *testing.T, pid int) string {
	t.Helper()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(groups)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		file := ""
		switch controllers {
		case "":
			file = filepath.Join("/sys/fs/cgroup", path, "memory.max")
		case "memory":
			file = filepath.Join("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
		}
		if limit, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(limit))
		}
	}
	t.Fatalf("process %d is in no group with a limit:\n%s", pid, groups)
	return ""
}
