package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/supervisor"
)

// loopDevice attaches a new image as a loop device with blocks of a size.
func loopDevice(t *testing.T, bytes int64, block int) string {
	t.Helper()
	testenv.RequireRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testenv.Skip(t, err.Error())
	}
	image := filepath.Join(shortDir(t), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, bytes); err != nil {
		t.Fatal(err)
	}
	losetup := "/usr/sbin/losetup"
	out, err := exec.Command(losetup, "--find", "--show", "--sector-size", itoa(block), image).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command(losetup, "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	return device
}

const onDevice = `version: 1
servers: {store: {kind: storage}}
volumes: {data: {server: store, device: %s, %s}}
applications: {test: {volumes: {data: rw}}}
`

// TestBlockDevice: a loop device as a volume, narrowed, under load and kills.
func TestBlockDevice(t *testing.T) {
	device := loopDevice(t, 16<<20, 512)
	s := Up(t, program, fmt.Sprintf(onDevice, device, "size: 8MiB"))
	v := s.Volume(s.Connect(), "data")
	if info := v.Info(); info.Size != 8<<20 || info.BlockSize != 4096 {
		t.Errorf("%+v", info)
	}
	load := StartLoad(v, 8, 0, 7)
	for range 10 {
		pid := s.KillServer("store")
		s.Until("another process serves", func(state *supervisor.State) bool {
			return state.Servers[0].PID != pid && state.Servers[0].Warm
		})
	}
	for _, problem := range load.Stop() {
		t.Error(problem)
	}
}

// TestDeviceRefused: what the topology wants and the device cannot give.
func TestDeviceRefused(t *testing.T) {
	coarse := loopDevice(t, 1<<20, 4096)
	mustSay(t, runUp(t, shortDir(t), fmt.Sprintf(onDevice, coarse, "block_size: 512")), "volume data", coarse, "the device's own is 4096", "block_size")
	mustSay(t, runUp(t, shortDir(t), fmt.Sprintf(onDevice, coarse, "size: 2MiB")), "volume data", coarse, "2097152 bytes are wanted, there are 1048576")
}
