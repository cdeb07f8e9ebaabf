package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
)

const (
	mountWait = 2 * time.Minute // for fuse2fs to come up, or to end
	mountPoll = time.Millisecond
)

// mounted is a file system mounted by Linux, with its directory of names as the
// working directory of this process.
type mounted struct {
	mountpoint string
	root       *os.File // of the mount
	fuse       *exec.Cmd
	ended      chan error // of fuse2fs
	log        strings.Builder
	took       time.Duration // to mount
	slabs      int64         // bytes in slabs before
}

// openMounted mounts t.Image. The mount is in this process's own namespace, and
// its loop device goes with it.
func openMounted(ctx context.Context, t task) (m *mounted, err error) {
	m = &mounted{mountpoint: t.Mountpoint, ended: make(chan error, 1)}
	if m.slabs, err = slabs(); err != nil {
		return nil, err
	}
	if t.Files == sideFuse {
		err = m.startFuse(t.Image)
	} else {
		err = m.mountLoop(ctx, t.Image)
	}
	if err != nil {
		return nil, err
	}
	if err := m.enter(); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *mounted) mountLoop(ctx context.Context, image string) error {
	out, err := exec.CommandContext(ctx, "losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("losetup: %w: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	start := time.Now()
	err = unix.Mount(device, m.mountpoint, "ext4")
	m.took = time.Since(start)
	// A loop device that is mounted is detached when that ends.
	if out, failed := exec.CommandContext(ctx, "losetup", "--detach", device).CombinedOutput(); failed != nil {
		err = errors.Join(err, fmt.Errorf("losetup: %w: %s", failed, out))
	}
	return err
}

func (m *mounted) startFuse(image string) error {
	before, err := os.Stat(m.mountpoint)
	if err != nil {
		return err
	}
	start := time.Now()
	runtime.LockOSThread() // for good: the signal is sent when the thread ends
	m.fuse = exec.Command("fuse2fs", "-f", image, m.mountpoint)
	m.fuse.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.fuse.Stdout, m.fuse.Stderr = &m.log, &m.log
	if err := m.fuse.Start(); err != nil {
		return err
	}
	go func() { m.ended <- m.fuse.Wait() }()
	for {
		if now, err := os.Stat(m.mountpoint); err == nil && !os.SameFile(before, now) {
			m.took = time.Since(start)
			return nil
		}
		select {
		case err := <-m.ended:
			return fmt.Errorf("fuse2fs ended: %w: %s", err, m.log.String())
		case <-time.After(mountPoll):
			if time.Since(start) > mountWait {
				return errors.Join(fmt.Errorf("fuse2fs did not mount within %v", mountWait), m.fuse.Process.Kill())
			}
		}
	}
}

// enter makes the directory of names the working directory, so that a name is
// looked up in one step.
func (m *mounted) enter() (err error) {
	if m.root, err = os.Open(m.mountpoint); err != nil {
		return err
	}
	dir := filepath.Join(m.mountpoint, namesDir)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Chdir(dir)
}

func (m *mounted) create(name string) error     { return unix.MakeFile(name, 0o644) }
func (m *mounted) rename(old, new string) error { return unix.RenameFile(old, new) }
func (m *mounted) unlink(name string) error     { return unix.RemoveFile(name) }
func (m *mounted) look(name string) error       { return unix.LookFor(name) }
func (m *mounted) sync() error                  { return unix.SyncFS(int(m.root.Fd())) }
func (m *mounted) mountTook() time.Duration     { return m.took }

func (m *mounted) fsync(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func (m *mounted) open(name string, direct bool) (content, error) {
	if direct && m.fuse == nil {
		return unix.OpenDirect(name)
	}
	return os.OpenFile(name, os.O_RDWR, 0)
}

// memory is that of fuse2fs, or how much the slabs of Linux have grown.
func (m *mounted) memory() (int64, error) {
	if m.fuse != nil {
		return resident(m.fuse.Process.Pid)
	}
	now, err := slabs()
	return max(0, now-m.slabs), err
}

func (m *mounted) close() error {
	var errs []error
	if m.root != nil {
		errs = append(errs, os.Chdir("/"), m.root.Close())
	}
	errs = append(errs, unix.Unmount(m.mountpoint))
	if m.fuse != nil {
		select {
		case err := <-m.ended:
			errs = append(errs, err)
		case <-time.After(mountWait):
			errs = append(errs, fmt.Errorf("fuse2fs did not end within %v", mountWait), m.fuse.Process.Kill())
		}
	}
	return errors.Join(errs...)
}

// slabs is the memory of the kernel's own objects, in bytes.
func slabs() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Slab:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no Slab")
}
