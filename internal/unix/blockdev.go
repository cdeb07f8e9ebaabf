package unix

import (
	"fmt"
	"os"

	sys "golang.org/x/sys/unix"
)

// File is what StatFile finds out about an open file or block device.
type File struct {
	Block    bool  // a block device; otherwise a regular file
	Size     int64 // bytes
	Logical  int   // unit of direct I/O in bytes: offsets and lengths; 0 when not known
	Memory   int   // alignment of memory for direct I/O in bytes; 0 when not known
	Direct   bool  // opened with O_DIRECT
	Writable bool  // opened for writing
}

// StatFile measures an open regular file or block device. Anything else is an
// error.
func StatFile(fd int) (File, error) {
	var st sys.Statx_t
	err := sys.Statx(fd, "", sys.AT_EMPTY_PATH, sys.STATX_BASIC_STATS|sys.STATX_DIOALIGN, &st)
	if err != nil {
		return File{}, os.NewSyscallError("statx", err)
	}
	flags, err := sys.FcntlInt(uintptr(fd), sys.F_GETFL, 0)
	if err != nil {
		return File{}, os.NewSyscallError("fcntl(F_GETFL)", err)
	}
	f := File{
		Size:     int64(st.Size),
		Direct:   flags&sys.O_DIRECT != 0,
		Writable: flags&sys.O_ACCMODE != sys.O_RDONLY,
	}
	if st.Mask&sys.STATX_DIOALIGN != 0 {
		f.Logical, f.Memory = int(st.Dio_offset_align), int(st.Dio_mem_align)
	}
	switch st.Mode & sys.S_IFMT {
	case sys.S_IFREG:
		return f, nil
	case sys.S_IFBLK:
	default:
		return File{}, fmt.Errorf("neither a regular file nor a block device (mode %#o)", st.Mode)
	}
	f.Block = true
	if f.Size, err = blockDeviceSize(fd); err != nil {
		return File{}, err
	}
	if f.Logical, err = sys.IoctlGetInt(fd, sys.BLKSSZGET); err != nil {
		return File{}, os.NewSyscallError("ioctl(BLKSSZGET)", err)
	}
	return f, nil
}

// SetDirect turns direct I/O of an open file description on. EINVAL where the
// file system has none.
func SetDirect(fd int) error {
	flags, err := sys.FcntlInt(uintptr(fd), sys.F_GETFL, 0)
	if err == nil {
		_, err = sys.FcntlInt(uintptr(fd), sys.F_SETFL, flags|sys.O_DIRECT)
	}
	return os.NewSyscallError("fcntl(F_SETFL, O_DIRECT)", err)
}

// MapAnonymous returns size bytes of zeroed memory outside the Go heap, for
// Unmap.
func MapAnonymous(size int) ([]byte, error) {
	mem, err := sys.Mmap(-1, 0, size, sys.PROT_READ|sys.PROT_WRITE, sys.MAP_SHARED|sys.MAP_ANONYMOUS)
	return mem, os.NewSyscallError("mmap", err)
}

// Errors of files and devices.
const (
	EIO        = uint32(sys.EIO)
	EAGAIN     = uint32(sys.EAGAIN)
	EINTR      = uint32(sys.EINTR)
	EINVAL     = uint32(sys.EINVAL)
	ENOSPC     = uint32(sys.ENOSPC)
	EDQUOT     = uint32(sys.EDQUOT)
	EFBIG      = uint32(sys.EFBIG)
	ENXIO      = uint32(sys.ENXIO)
	ENODEV     = uint32(sys.ENODEV)
	ENOMEDIUM  = uint32(sys.ENOMEDIUM)
	EPERM      = uint32(sys.EPERM)
	EACCES     = uint32(sys.EACCES)
	EROFS      = uint32(sys.EROFS)
	EBADF      = uint32(sys.EBADF)
	EOPNOTSUPP = uint32(sys.EOPNOTSUPP)
	EFAULT     = uint32(sys.EFAULT)
)

// CanPunch reports whether the file system can make holes in the regular file
// fd, which has size bytes. It asks for a hole beyond the end, which changes
// nothing.
func CanPunch(fd int, size int64) bool {
	const hole = 64 << 10
	return sys.Fallocate(fd, sys.FALLOC_FL_PUNCH_HOLE|sys.FALLOC_FL_KEEP_SIZE, (size+hole-1)&^(hole-1), hole) == nil
}

// Reopen returns a new open file description of the file behind fd, for reading
// and writing.
func Reopen(fd int) (int, error) {
	n, err := sys.Open(fmt.Sprintf("/proc/self/fd/%d", fd), sys.O_RDWR|sys.O_CLOEXEC, 0)
	return n, os.NewSyscallError("open", err)
}
