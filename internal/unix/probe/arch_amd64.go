package probe

import sys "golang.org/x/sys/unix"

func disruptiveOfArch(number uintptr) bool {
	return number == sys.SYS_FORK || number == sys.SYS_VFORK || number == sys.SYS_PAUSE
}

// Exempt tells whether the kernel lets a call past every filter: those that
// uprobe trampolines make, which fail, the first fatally, anywhere else
// (seccomp_uprobe_exception in kernel/seccomp.c).
func Exempt(number uintptr) bool {
	const uretprobe, uprobe = 335, 336
	return number == uretprobe || number == uprobe
}
