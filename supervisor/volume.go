package supervisor

import (
	"errors"
	"fmt"
	"os"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// volume is a declared volume and, if it is backed by memory, that memory.
type volume struct {
	topology.Volume
	memory *os.File
}

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
	locked, err := unix.TryLockExclusive(int(f.Fd()))
	if err != nil {
		return fmt.Errorf("lock %s: %w", v.Path, err)
	}
	if !locked {
		return fmt.Errorf("%s is %w: another process has locked it; find it with `lslocks` and stop it", v.Path, ErrBusy)
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

// open returns a fresh open description of the device, the caller's to close.
func (v *volume) open() (fd int, err error) {
	path := v.Path
	if v.memory != nil {
		path = fmt.Sprintf("/proc/self/fd/%d", v.memory.Fd())
	}
	f, err := os.OpenFile(path, v.flags(), 0)
	if err != nil {
		return -1, fmt.Errorf("volume %s: %w", v.Name, err)
	}
	defer f.Close()
	return unix.Dup(int(f.Fd()))
}

func (v *volume) flags() int {
	if v.ReadOnly {
		return os.O_RDONLY
	}
	return os.O_RDWR
}

func (v *volume) close() {
	if v.memory != nil {
		_ = v.memory.Close()
	}
}
