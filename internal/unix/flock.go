package unix

import (
	"os"

	sys "golang.org/x/sys/unix"
)

// LockExclusive takes an exclusive lock on fd's open file description, and waits
// for it. The lock goes when the last reference to the description has gone,
// and operations in flight in the kernel hold one.
func LockExclusive(fd int) error {
	return os.NewSyscallError("flock", flock(fd, sys.LOCK_EX))
}

// TryLockExclusive is LockExclusive that does not wait: false when the lock is
// held through another description.
func TryLockExclusive(fd int) (bool, error) {
	err := flock(fd, sys.LOCK_EX|sys.LOCK_NB)
	if err == sys.EWOULDBLOCK {
		return false, nil
	}
	return err == nil, os.NewSyscallError("flock", err)
}

func flock(fd, how int) error {
	for {
		if err := sys.Flock(fd, how); err != sys.EINTR {
			return err
		}
	}
}

// Unlock gives the lock of fd's open file description up.
func Unlock(fd int) error { return os.NewSyscallError("flock", flock(fd, sys.LOCK_UN)) }
