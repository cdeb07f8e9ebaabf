package unix

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	sys "golang.org/x/sys/unix"
)

// OwnFiles gives the calling thread, which must be locked, must end locked and must
// not be the main thread, a table
// of open files of its own: those below 3, those in keep, and those that the runtime
// writes to from any thread. No other thread's files are in it, nor are its own in
// theirs, under whatever number: an os.File must be used and closed on the side that
// has opened it.
func OwnFiles(keep ...int) error {
	if err := sys.Unshare(sys.CLONE_FILES); err != nil {
		return os.NewSyscallError("unshare(CLONE_FILES)", err)
	}
	const directory = "/proc/thread-self/fd"
	entries, err := os.ReadDir(directory)
	if err != nil {
		return fmt.Errorf("list the thread's open files: %w", err)
	}
	for _, each := range entries {
		fd, err := strconv.Atoi(each.Name())
		if err != nil || fd < 3 || slices.Contains(keep, fd) {
			continue
		}
		target, err := os.Readlink(directory + "/" + each.Name())
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") {
			continue // that of the listing itself, or an epoll or eventfd
		}
		_ = sys.Close(fd)
	}
	return nil
}

// ThreadID is the number of the calling thread.
func ThreadID() int { return sys.Gettid() }

// OnMainThread tells whether the calling thread is the process's first.
func OnMainThread() bool { return sys.Gettid() == sys.Getpid() }

// Execute starts a program with the descriptors of the calling thread's table that are
// listed as its own 0, 1, 2 ..., which stay the caller's, and returns its pid.
func Execute(path string, args, env []string, files []int, attributes *syscall.SysProcAttr) (pid int, err error) {
	numbers := make([]uintptr, len(files))
	for i, each := range files {
		numbers[i] = uintptr(each)
	}
	return syscall.ForkExec(path, args, &syscall.ProcAttr{Dir: "/", Env: env, Files: numbers, Sys: attributes})
}
