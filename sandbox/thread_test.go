package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
)

// TestProcessesInheritNoFilesOfStrangers: the thread that makes processes has none of
// the files that the supervisor has opened or received since.
func TestProcessesInheritNoFilesOfStrangers(t *testing.T) {
	l := newLauncher(t)
	fd, err := unix.CreateMemfd("stranger", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	has := func(tid int) bool {
		target, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/fd/%d", tid, fd))
		return err == nil && filepath.Base(target) == "memfd:stranger (deleted)"
	}
	if !has(os.Getpid()) {
		t.Fatal("the main thread does not have the file")
	}
	tid := 0
	finished := make(chan struct{})
	l.thread.requests <- func() { tid = unix.ThreadID(); close(finished) }
	<-finished
	if has(tid) {
		t.Error("the launching thread has the file")
	}
}
