package unix

import (
	"fmt"
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// Instruction is one instruction of classic BPF, as seccomp(2) takes it.
type Instruction = sys.SockFilter

// Opcodes and results of a seccomp filter.
const (
	BPFLoad        = sys.BPF_LD | sys.BPF_W | sys.BPF_ABS
	BPFAnd         = sys.BPF_ALU | sys.BPF_AND | sys.BPF_K
	BPFJumpEqual   = sys.BPF_JMP | sys.BPF_JEQ | sys.BPF_K
	BPFJumpAtLeast = sys.BPF_JMP | sys.BPF_JGE | sys.BPF_K
	BPFReturn      = sys.BPF_RET | sys.BPF_K

	SeccompAllow       = sys.SECCOMP_RET_ALLOW
	SeccompKillProcess = sys.SECCOMP_RET_KILL_PROCESS
	SeccompErrno       = sys.SECCOMP_RET_ERRNO // or the error number to it
)

// InstallSeccomp puts every thread of the process, present and future, under
// the filter, for good. The calling thread must have no_new_privs set; the
// others get it along with the filter.
func InstallSeccomp(filter []Instruction) error {
	prog := sys.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	thread, _, errno := sys.Syscall(sys.SYS_SECCOMP, sys.SECCOMP_SET_MODE_FILTER, sys.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d already has a filter of its own", thread)
	}
	return nil
}

// SeccompSupports tells whether the kernel's seccomp knows an action such as
// SeccompKillProcess.
func SeccompSupports(action uint32) bool {
	_, _, errno := sys.Syscall(sys.SYS_SECCOMP, sys.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	return errno == 0
}
