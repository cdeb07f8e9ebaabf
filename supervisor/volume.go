package supervisor

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// volume is a declared volume and what is known of its backing since it was prepared:
// its memory; the name of its image file, which leads to it wherever it is moved; and
// what tells its device from others that its path may lead to later.
type volume struct {
	topology.Volume
	memory   *os.File
	image    *os.File // O_PATH
	identity device.Identity
	openFile func(path string, flags int, mode os.FileMode) (*os.File, error) // os.OpenFile, but for tests
	closing  disposal                                                         // of devices: the last close of one may take its time
}

// errOther: a path leads to another device than when the system was started.
var errOther = errors.New("it is another device than the one that the system was started with")

// prepare checks the device before any server is started, so that a wrong path
// or a device in use is an error of `up` and not of a server that keeps dying.
func (v *volume) prepare() error {
	err := v.prepareBacking()
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.Name, err)
	}
	return nil
}

func (v *volume) prepareBacking() error {
	if v.Backing == topology.Memory {
		have, err := unix.HostMemory()
		if err != nil {
			return err
		}
		if most := min(have, shm.SizeMax); v.Size > most {
			return fmt.Errorf("memory: %s is more than a volume in memory can have here, which is %s; use `file:` or `device:`",
				topology.FormatSize(v.Size), topology.FormatSize(most))
		}
		fd, err := unix.CreateMemfd("quintet-volume-"+v.Name, v.Size)
		if err != nil {
			return err
		}
		v.memory = os.NewFile(uintptr(fd), "volume "+v.Name)
		return unix.AddSeals(fd, unix.SealShrink|unix.SealGrow|unix.SealSeal)
	}
	f, err := os.OpenFile(v.Path, v.flags(), 0)
	if errors.Is(err, os.ErrNotExist) {
		if !v.Create {
			if v.Backing == topology.Device {
				return fmt.Errorf("%w; correct its path, or attach the device first", err)
			}
			return fmt.Errorf("%w; correct its path, or let it be created with `create: true` and a size", err)
		}
		f, err = v.create()
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	block := info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0
	switch {
	case v.Backing == topology.File && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file; use `device:` for block devices", v.Path)
	case v.Backing == topology.Device && !block:
		return fmt.Errorf("%s is not a block device; use `file:` for image files", v.Path)
	case v.Backing == topology.File && info.Size() < max(v.Size, 1):
		return fmt.Errorf("%s has %d bytes, the topology says %d; grow it with `truncate -s %d %s`", v.Path, info.Size(), v.Size, v.Size, v.Path)
	}
	if _, err := device.Measure(int(f.Fd()), device.Options{BlockSize: v.BlockSize, Size: v.Size}); err != nil {
		return fmt.Errorf("%s: %w; correct its block_size or size", v.Path, err)
	}
	if err := v.recognize(f); err != nil {
		return err
	}
	locked, err := unix.TryLockExclusive(int(f.Fd()))
	if err != nil {
		return fmt.Errorf("lock %s: %w", v.Path, err)
	}
	if !locked {
		return fmt.Errorf("%s is %w: another process has locked it; find it with `lslocks` and stop it", v.Path, ErrBusy)
	}
	return nil
}

// recognize notes what leads to the device that has been opened, and to no other.
func (v *volume) recognize(f *os.File) (err error) {
	if v.identity, err = device.Identify(int(f.Fd())); err != nil {
		return fmt.Errorf("%s: %w", v.Path, err)
	}
	if v.Backing == topology.File {
		name, err := unix.NameFile(int(f.Fd()))
		if err != nil {
			return fmt.Errorf("%s: %w", v.Path, err)
		}
		v.image = os.NewFile(uintptr(name), v.Path)
	}
	return nil
}

func (v *volume) create() (*os.File, error) {
	f, err := os.OpenFile(v.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(v.Size); err != nil {
		return nil, errors.Join(fmt.Errorf("make room for %d bytes: %w", v.Size, err), f.Close(), os.Remove(v.Path))
	}
	return f, nil
}

// open returns a fresh open description of the device, the caller's to release.
func (v *volume) open() (*descriptor, error) {
	path := v.Path
	for _, kept := range []*os.File{v.memory, v.image} {
		if kept != nil {
			path = fmt.Sprintf("/proc/self/fd/%d", kept.Fd())
		}
	}
	f, err := v.openFile(path, v.flags()|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", v.Name, err)
	}
	defer f.Close()
	if v.memory == nil {
		now, err := device.Identify(int(f.Fd()))
		if err != nil {
			return nil, fmt.Errorf("volume %s: %s: %w", v.Name, v.Path, err)
		}
		if now != v.identity {
			return nil, fmt.Errorf("volume %s: %s: %w: %v, not %v; put that one back, or start the system anew", v.Name, v.Path, errOther, now, v.identity)
		}
	}
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", v.Name, err)
	}
	return newDescriptor(fd, &v.closing, nil), nil
}

func (v *volume) flags() int {
	if v.ReadOnly {
		return os.O_RDONLY
	}
	return os.O_RDWR
}

func (v *volume) close() {
	for _, kept := range []*os.File{v.memory, v.image} {
		if kept != nil {
			_ = kept.Close()
		}
	}
}
