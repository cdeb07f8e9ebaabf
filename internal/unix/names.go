package unix

import (
	"os"

	sys "golang.org/x/sys/unix"
)

// These are single system calls, where package os makes several.

// MakeFile makes an empty regular file.
func MakeFile(path string, permissions uint32) error {
	return os.NewSyscallError("mknod", sys.Mknod(path, sys.S_IFREG|permissions, 0))
}

// RenameFile renames a file.
func RenameFile(old, new string) error { return os.NewSyscallError("rename", sys.Rename(old, new)) }

// RemoveFile removes the name of anything but a directory.
func RemoveFile(path string) error { return os.NewSyscallError("unlink", sys.Unlink(path)) }

// LookFor reads the attributes of what path names, and drops them.
func LookFor(path string) error {
	var st sys.Stat_t
	return os.NewSyscallError("stat", sys.Stat(path, &st))
}

// Mount mounts a file system of a kind on dir.
func Mount(source, dir, kind string) error {
	return os.NewSyscallError("mount", sys.Mount(source, dir, kind, 0, ""))
}

// Unmount ends a mount that nothing uses.
func Unmount(dir string) error { return os.NewSyscallError("umount", sys.Unmount(dir, 0)) }

// OpenDirect opens a file for reading and writing past the page cache.
func OpenDirect(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|sys.O_DIRECT, 0) }

// SyncFS makes durable what is in the file system of fd.
func SyncFS(fd int) error { return os.NewSyscallError("syncfs", sys.Syncfs(fd)) }

// Umask sets this process's mask of permissions, and returns the one before.
func Umask(mask int) int { return sys.Umask(mask) }
