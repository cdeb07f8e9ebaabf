package unix

import sys "golang.org/x/sys/unix"

// AuditArch is how seccomp names this architecture.
const AuditArch = sys.AUDIT_ARCH_X86_64

var numbersOfArch = map[string]uint32{
	"arch_prctl":      sys.SYS_ARCH_PRCTL,
	"epoll_wait":      sys.SYS_EPOLL_WAIT,
	"iopl":            sys.SYS_IOPL,
	"ioperm":          sys.SYS_IOPERM,
	"modify_ldt":      sys.SYS_MODIFY_LDT,
	"poll":            sys.SYS_POLL,
	"kexec_file_load": sys.SYS_KEXEC_FILE_LOAD,
}
