package unix

import (
	"errors"
	"fmt"
	"os"

	sys "golang.org/x/sys/unix"
)

// FileNumber is what tells files and devices apart.
type FileNumber struct {
	Block        bool
	Device       uint64 // of a block device its own, of anything else that of its file system
	Major, Minor uint32 // of Device
	Inode        uint64
}

// NumberFile returns the numbers of an open file.
func NumberFile(fd int) (FileNumber, error) {
	var st sys.Stat_t
	if err := sys.Fstat(fd, &st); err != nil {
		return FileNumber{}, os.NewSyscallError("fstat", err)
	}
	n := FileNumber{Block: st.Mode&sys.S_IFMT == sys.S_IFBLK, Device: st.Dev, Inode: st.Ino}
	if n.Block {
		n.Device = st.Rdev
	}
	n.Major, n.Minor = sys.Major(n.Device), sys.Minor(n.Device)
	return n, nil
}

// Backing is the file behind a loop device.
type Backing struct{ Device, Inode, Offset uint64 }

// LoopBacking returns the file behind a loop device; loop is false for any other
// device. ENXIO when there is none.
func LoopBacking(fd int) (b Backing, loop bool, err error) {
	info, err := sys.IoctlLoopGetStatus64(fd)
	if errors.Is(err, sys.ENOTTY) || errors.Is(err, sys.EINVAL) {
		return Backing{}, false, nil
	}
	if err != nil {
		return Backing{}, true, os.NewSyscallError("ioctl(LOOP_GET_STATUS64)", err)
	}
	return Backing{Device: info.Device, Inode: info.Inode, Offset: info.Offset}, true, nil
}

// NameFile returns a descriptor that names the file behind fd, whatever becomes of its
// path: it can be opened by /proc/self/fd, holds no lock and does no I/O.
func NameFile(fd int) (int, error) {
	n, err := sys.Open(fmt.Sprintf("/proc/self/fd/%d", fd), sys.O_PATH|sys.O_CLOEXEC, 0)
	return n, os.NewSyscallError("open(O_PATH)", err)
}
