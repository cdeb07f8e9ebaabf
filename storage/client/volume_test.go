package client_test

import (
	"bytes"
	"testing"

	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/conformance"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/storage/storagetest"
)

const volumeBytes = 8 << 20

// memory opens the same memory each time.
func memory(block int) storagetest.Open {
	data := make([]byte, volumeBytes)
	return func() (storage.Device, error) { return device.NewMemory(data, block, 32) }
}

// file opens a file or block device anew each time, and takes the fence.
func file(path string, options device.Options) storagetest.Open {
	return func() (storage.Device, error) {
		fd, err := storagetest.Descriptor(path)
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

func image(t *testing.T) string { return storagetest.Image(t, t.TempDir(), volumeBytes) }

func TestConformance(t *testing.T) {
	for name, open := range map[string]storagetest.Open{
		"memory of 512 bytes":  memory(512),
		"memory of 4096 bytes": memory(4096),
		"file":                 file(image(t), device.Options{}),
		"shallow file":         file(image(t), device.Options{Depth: 2, Unpinned: true}),
		"buffered file":        file(image(t), device.Options{Buffered: true}),
	} {
		t.Run(name, func(t *testing.T) {
			s := storagetest.Start(t, storage.Limits{}, open)
			conformance.Run(t, s.Connect(storagetest.Grant{}).Volumes[0])
		})
	}
	t.Run("loop device", func(t *testing.T) {
		s := storagetest.Start(t, storage.Limits{}, file(storagetest.LoopDevice(t, image(t)), device.Options{}))
		conformance.Run(t, s.Connect(storagetest.Grant{}).Volumes[0])
	})
}

// TestTwoVolumesTwoSessions: two volumes of one server conform, used at once by
// one session. Another, that may write only one of them, sees the same contents
// and is refused changes of the other.
func TestTwoVolumesTwoSessions(t *testing.T) {
	s := storagetest.Start(t, storage.Limits{}, memory(512), file(image(t), device.Options{}))
	both := s.Connect(storagetest.Grant{Volume: 0}, storagetest.Grant{Volume: 1})
	t.Run("conformance", func(t *testing.T) {
		for _, v := range both.Volumes {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				conformance.Run(t, v)
			})
		}
	})
	// The handles are the session's own: here 0 is the file.
	reader := s.Connect(storagetest.Grant{Volume: 1, ReadOnly: true}, storagetest.Grant{Volume: 0})
	p, got := bytes.Repeat([]byte{'A'}, 4096), make([]byte, 4096)
	if _, err := both.Volumes[1].WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Volumes[0].ReadAt(got, 0); err != nil || !bytes.Equal(got, p) {
		t.Errorf("the reader sees other contents (%v)", err)
	}
	if reader.Volumes[0].Writable() || !reader.Volumes[1].Writable() {
		t.Error("the rights are not those granted")
	}
	_, err := reader.Volumes[0].WriteAt(p, 0)
	wantKind(t, "a write without the right", err, storage.KindPermission)
	wantKind(t, "a discard without the right", reader.Volumes[0].Discard(0, 4096), storage.KindPermission)
	wantKind(t, "zeroing without the right", reader.Volumes[0].WriteZeroes(0, 4096), storage.KindPermission)
	if _, err := reader.Volumes[1].WriteAt(p, 8192); err != nil {
		t.Error(err)
	}
	if _, err := both.Volumes[0].ReadAt(got, 8192); err != nil || !bytes.Equal(got, p) {
		t.Errorf("the other session sees other contents (%v)", err)
	}
}
