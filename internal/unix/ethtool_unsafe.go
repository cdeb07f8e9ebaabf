package unix

import (
	"os"
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// setTransmitChecksums is ETHTOOL_STXCSUM of linux/ethtool.h.
const setTransmitChecksums = 0x17

// SetTransmitChecksums says whether an interface of the caller's network namespace
// takes frames with unfinished checksums (ethtool -K name tx). It needs
// CAP_NET_ADMIN.
func SetTransmitChecksums(name string, on bool) error {
	fd, err := sys.Socket(sys.AF_INET, sys.SOCK_DGRAM|sys.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer sys.Close(fd)
	value := struct{ command, data uint32 }{command: setTransmitChecksums}
	if on {
		value.data = 1
	}
	request := struct {
		name [sys.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:sys.IFNAMSIZ-1], name)
	if _, _, errno := sys.Syscall(sys.SYS_IOCTL, uintptr(fd), sys.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return os.NewSyscallError("ioctl(SIOCETHTOOL)", errno)
	}
	return nil
}
