package unix

import (
	"os"
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// blockDeviceSize returns the present size of a block device in bytes.
func blockDeviceSize(fd int) (int64, error) {
	var size uint64
	if _, _, errno := sys.Syscall(sys.SYS_IOCTL, uintptr(fd), sys.BLKGETSIZE64, uintptr(unsafe.Pointer(&size))); errno != 0 {
		return 0, os.NewSyscallError("ioctl(BLKGETSIZE64)", errno)
	}
	return int64(size), nil
}
