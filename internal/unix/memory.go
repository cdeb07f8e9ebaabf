package unix

import (
	"fmt"
	"os"

	sys "golang.org/x/sys/unix"
)

// Seals of a memfd, as in fcntl_linux.h.
const (
	SealSeal        = sys.F_SEAL_SEAL
	SealShrink      = sys.F_SEAL_SHRINK
	SealGrow        = sys.F_SEAL_GROW
	SealWrite       = sys.F_SEAL_WRITE
	SealFutureWrite = sys.F_SEAL_FUTURE_WRITE
)

// CreateMemfd returns the descriptor of a new, sealable, close-on-exec memory
// file of size bytes. The name is shown in /proc and means nothing else.
func CreateMemfd(name string, size int64) (int, error) {
	fd, err := sys.MemfdCreate(name, sys.MFD_CLOEXEC|sys.MFD_ALLOW_SEALING|sys.MFD_NOEXEC_SEAL)
	if err == sys.EINVAL { // before Linux 6.3
		fd, err = sys.MemfdCreate(name, sys.MFD_CLOEXEC|sys.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	if err := sys.Ftruncate(fd, size); err != nil {
		sys.Close(fd)
		return -1, os.NewSyscallError("ftruncate", err)
	}
	return fd, nil
}

// AddSeals adds seals to a memfd.
func AddSeals(fd, seals int) error {
	_, err := sys.FcntlInt(uintptr(fd), sys.F_ADD_SEALS, seals)
	return os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
}

// Seals returns the seals of a memfd, and an error for any other kind of file.
func Seals(fd int) (int, error) {
	seals, err := sys.FcntlInt(uintptr(fd), sys.F_GET_SEALS, 0)
	return seals, os.NewSyscallError("fcntl(F_GET_SEALS)", err)
}

// FileSize returns the size of the file in bytes.
func FileSize(fd int) (int64, error) {
	var st sys.Stat_t
	if err := sys.Fstat(fd, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	return st.Size, nil
}

// OnTmpfs tells whether a file is on a tmpfs, as memory files of ordinary pages are;
// those of huge pages are on a hugetlbfs.
func OnTmpfs(fd int) (bool, error) {
	var st sys.Statfs_t
	err := retryInterrupted(func() error { return sys.Fstatfs(fd, &st) })
	return st.Type == sys.TMPFS_MAGIC, os.NewSyscallError("fstatfs", err)
}

// Access tells how a file is open.
func Access(fd int) (readable, writable bool, err error) {
	flags, err := sys.FcntlInt(uintptr(fd), sys.F_GETFL, 0)
	mode := flags & sys.O_ACCMODE
	return err == nil && mode != sys.O_WRONLY, err == nil && mode != sys.O_RDONLY, os.NewSyscallError("fcntl(F_GETFL)", err)
}

// PunchHole gives the pages of a range of a memory file back.
func PunchHole(fd int, offset, length int64) error {
	return os.NewSyscallError("fallocate", sys.Fallocate(fd, sys.FALLOC_FL_PUNCH_HOLE|sys.FALLOC_FL_KEEP_SIZE, offset, length))
}

// ReopenReadOnly returns a new, read-only description of the file behind fd.
func ReopenReadOnly(fd int) (int, error) {
	ro, err := sys.Open(fmt.Sprintf("/proc/self/fd/%d", fd), sys.O_RDONLY|sys.O_CLOEXEC, 0)
	return ro, os.NewSyscallError("open", err)
}

// SetMode sets the permission bits of the file behind fd.
func SetMode(fd int, mode uint32) error {
	return os.NewSyscallError("fchmod", sys.Fchmod(fd, mode))
}

// Map maps size bytes of fd, shared. Without writable, a store through the
// result faults. With populate, the pages are touched now.
func Map(fd, size int, writable, populate bool) ([]byte, error) {
	prot, flags := sys.PROT_READ, sys.MAP_SHARED
	if writable {
		prot |= sys.PROT_WRITE
	}
	if populate {
		flags |= sys.MAP_POPULATE
	}
	mem, err := sys.Mmap(fd, 0, size, prot, flags)
	return mem, os.NewSyscallError("mmap", err)
}

// Unmap removes a mapping made by Map.
func Unmap(mem []byte) error {
	return os.NewSyscallError("munmap", sys.Munmap(mem))
}

// WriteAll writes p to the start of a memory file.
func WriteAll(fd int, p []byte) error {
	for at := 0; at < len(p); {
		n, err := sys.Pwrite(fd, p[at:], int64(at))
		if err != nil && err != sys.EINTR {
			return os.NewSyscallError("pwrite", err)
		}
		at += max(n, 0)
	}
	return nil
}

// Close closes a descriptor.
func Close(fd int) error {
	return os.NewSyscallError("close", sys.Close(fd))
}

// Dup duplicates a descriptor, close-on-exec.
func Dup(fd int) (int, error) {
	n, err := sys.FcntlInt(uintptr(fd), sys.F_DUPFD_CLOEXEC, 0)
	return n, os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err)
}

// Protect changes whether a mapping may be written.
func Protect(mem []byte, writable bool) error {
	prot := sys.PROT_READ
	if writable {
		prot |= sys.PROT_WRITE
	}
	return os.NewSyscallError("mprotect", sys.Mprotect(mem, prot))
}

// Truncate sets the size of the file behind fd.
func Truncate(fd int, size int64) error {
	return os.NewSyscallError("ftruncate", sys.Ftruncate(fd, size))
}
