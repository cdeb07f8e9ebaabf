package device

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
)

// sbin is where Debian keeps losetup and mkfs.ext4.
func sbin(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return filepath.Join("/usr/sbin", name)
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(sbin(name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// loopDevice attaches the file as a loop device until the test's end.
func loopDevice(t testing.TB, image string) string {
	t.Helper()
	testenv.RequireRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testenv.Skip(t, err.Error())
	}
	loop := command(t, "losetup", "--find", "--show", image)
	t.Cleanup(func() { command(t, "losetup", "--detach", loop) })
	return loop
}

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
