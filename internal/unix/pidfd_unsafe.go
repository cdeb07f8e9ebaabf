package unix

import (
	"syscall"
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// childStatus is siginfo_t as waitid fills it on 64-bit machines.
type childStatus struct {
	signo, errno, code, _ int32
	pid, uid, status      int32
}

// EndedBy tells whether the process, a child of this one that nobody has reaped,
// was ended by sig. It does not reap it.
func (p *Pidfd) EndedBy(sig syscall.Signal) bool {
	var info sys.Siginfo
	var waitErr error
	err := p.raw.Control(func(fd uintptr) {
		waitErr = retryInterrupted(func() error {
			return sys.Waitid(sys.P_PIDFD, int(fd), &info, sys.WEXITED|sys.WNOHANG|sys.WNOWAIT, nil)
		})
	})
	if err != nil || waitErr != nil {
		return false
	}
	child := (*childStatus)(unsafe.Pointer(&info))
	const killed, dumped = 2, 3 // CLD_KILLED, CLD_DUMPED
	return (child.code == killed || child.code == dumped) && child.status == int32(sig)
}
