package client_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/conformance"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/storage/server"
	"github.com/quintet-os/quintet/storage/storagetest"
)

const volumeBytes = 8 << 20

// memory opens the same memory each time.
func memory(block int) storagetest.Open {
	data := make([]byte, volumeBytes)
	return func() (storage.Device, error) { return device.NewMemory(data, block, 32) }
}

// file opens a new file each time, and takes the fence.
func file(t testing.TB, dir string, options device.Options) storagetest.Open {
	t.Helper()
	path := filepath.Join(dir, "image")
	image, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { image.Close() })
	if err := image.Truncate(volumeBytes); err != nil {
		t.Fatal(err)
	}
	return func() (storage.Device, error) {
		fd, err := unix.Reopen(int(image.Fd()))
		if err != nil {
			return nil, err
		}
		f, err := device.NewFile(fd, options)
		if err != nil {
			return nil, err
		}
		return f, f.Fence()
	}
}

func TestConformance(t *testing.T) {
	for name, open := range map[string]storagetest.Open{
		"memory of 512 bytes":  memory(512),
		"memory of 4096 bytes": memory(4096),
		"file":                 file(t, t.TempDir(), device.Options{}),
		"shallow file":         file(t, t.TempDir(), device.Options{Depth: 2, Unpinned: true}),
		"buffered file":        file(t, t.TempDir(), device.Options{Buffered: true}),
	} {
		t.Run(name, func(t *testing.T) {
			s := storagetest.Start(t, server.Limits{}, open)
			conformance.Run(t, s.Connect(storagetest.Grant{}).Volumes[0])
		})
	}
}
