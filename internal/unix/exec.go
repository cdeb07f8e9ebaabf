package unix

import (
	"os"

	sys "golang.org/x/sys/unix"
)

// Exec makes the program at path take the place of this one. It returns only if that
// fails.
func Exec(path string, args, environment []string) error {
	return &os.PathError{Op: "execve", Path: path, Err: sys.Exec(path, args, environment)}
}

// CloseOnExec keeps a descriptor from the programs that this process starts.
func CloseOnExec(fd int) { sys.CloseOnExec(fd) }
