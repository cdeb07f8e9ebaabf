package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
)

// ErrBusy: another supervisor has the state directory, or another process a
// device.
var ErrBusy = errors.New("in use")

// ErrUnsafe: a state directory is in the hands of others.
var ErrUnsafe = errors.New("not safe")

const lockName = "lock"

// MakeStateDir creates the directory if need be. One in which anybody but this user
// and root could put something, or that is a link, is refused with ErrUnsafe: whoever
// can may have the supervisor overwrite files, and its control messages.
func MakeStateDir(path string) error {
	if err := os.MkdirAll(path, 0o711); err != nil {
		return fmt.Errorf("create the state directory: %w; choose another with --state", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at the state directory: %w; choose another with --state", err)
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case !info.IsDir():
		return fmt.Errorf("the state directory %s is %w: it is a link; name what it leads to with --state", path, ErrUnsafe)
	case owner != 0 && owner != os.Geteuid():
		return fmt.Errorf("the state directory %s is %w: it is of uid %d; choose another with --state", path, ErrUnsafe, owner)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("the state directory %s is %w: others may write to it; take that away with `chmod go-w %s`, or choose another with --state", path, ErrUnsafe, path)
	}
	return nil
}

// stateDir is a state directory held by this process.
type stateDir struct {
	path string
	lock *os.File
}

// holdStateDir creates the directory if need be and locks it. The lock is a flock
// on an open file: the kernel releases it with the process, whatever its end.
func holdStateDir(path string) (*stateDir, error) {
	if err := MakeStateDir(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the state directory: %w; choose another with --state", err)
	}
	locked, err := unix.TryLockExclusive(int(f.Fd()))
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock the state directory %s: %w", path, err)
	}
	if !locked {
		holder := make([]byte, 16)
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close()
		return nil, fmt.Errorf("state directory %s is %w by the supervisor with pid %s; stop that one with `quintet down --state %s`, or choose another directory with --state",
			path, ErrBusy, strings.TrimSpace(string(holder[:n])), path)
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write the lock of the state directory: %w", err)
	}
	return &stateDir{path: path, lock: f}, nil
}

// release removes the socket and gives the directory up. The lock's file stays:
// removing it would race with the next supervisor.
func (d *stateDir) release() error {
	err := os.Remove(broker.SocketPath(d.path))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, d.lock.Close())
}
