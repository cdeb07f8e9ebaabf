package unix

import sys "golang.org/x/sys/unix"

// AuditArch is how seccomp names this architecture.
const AuditArch = sys.AUDIT_ARCH_AARCH64

var numbersOfArch = map[string]uint32{
	"kexec_file_load": sys.SYS_KEXEC_FILE_LOAD,
}
