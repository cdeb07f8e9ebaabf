package device

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
)

// throttle is a control group whose writes to one device do not proceed.
type throttle struct {
	t          testing.TB
	dir        string
	file       string
	stop, free string
}

// newThrottle makes such a group, by whichever version of control groups the
// host has.
func newThrottle(t testing.TB, device string) *throttle {
	t.Helper()
	dev, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "dev"))
	if err != nil {
		t.Fatal(err)
	}
	number := strings.TrimSpace(string(dev))
	name := "quintet-storage-test-" + strconv.Itoa(os.Getpid())
	kinds := []throttle{
		{dir: "/sys/fs/cgroup/blkio", file: "blkio.throttle.write_bps_device", stop: number + " 1", free: number + " 0"},
		{dir: "/sys/fs/cgroup", file: "io.max", stop: number + " wbps=1", free: number + " wbps=max"},
	}
	for _, k := range kinds {
		k.t, k.dir = t, filepath.Join(k.dir, name)
		if os.Mkdir(k.dir, 0o755) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(k.dir, k.file)); err != nil {
			os.Remove(k.dir)
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(k.dir); err != nil {
				t.Errorf("remove the control group: %v", err)
			}
		})
		k.write(k.file, k.stop)
		return &k
	}
	testenv.Skip(t, "no control group here can throttle a block device")
	return nil
}

func (k *throttle) write(file, text string) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, file), []byte(text), 0o644); err != nil {
		k.t.Fatal(err)
	}
}

// Enter puts a process into the group.
func (k *throttle) Enter(pid int) { k.write("cgroup.procs", strconv.Itoa(pid)) }

// Lift lets the writes proceed.
func (k *throttle) Lift() { k.write(k.file, k.free) }
