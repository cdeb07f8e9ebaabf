package unixtest

import (
	"os"
	"syscall"

	sys "golang.org/x/sys/unix"
)

// CreateHugeMemfd is unix.CreateMemfd with the machine's huge pages, which need not exist
// until the file is mapped.
func CreateHugeMemfd(name string, size int64) (int, error) {
	fd, err := sys.MemfdCreate(name, sys.MFD_CLOEXEC|sys.MFD_ALLOW_SEALING|sys.MFD_HUGETLB)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create(MFD_HUGETLB)", err)
	}
	if err := sys.Ftruncate(fd, size); err != nil {
		sys.Close(fd)
		return -1, os.NewSyscallError("ftruncate", err)
	}
	return fd, nil
}

// RefusesDescriptors tells whether unix.PassDescriptors has closed a socket to them.
func RefusesDescriptors(socket syscall.Conn) bool {
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	refuses := false
	err = raw.Control(func(fd uintptr) {
		may, err := sys.GetsockoptInt(int(fd), sys.SOL_SOCKET, passRights)
		refuses = err == nil && may == 0
	})
	return err == nil && refuses
}

// passRights is SO_PASSRIGHTS.
const passRights = 83
