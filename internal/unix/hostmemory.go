package unix

import (
	"os"

	sys "golang.org/x/sys/unix"
)

// HostMemory is the memory of this host with its swap space, in bytes.
func HostMemory() (int64, error) {
	var info sys.Sysinfo_t
	if err := sys.Sysinfo(&info); err != nil {
		return 0, os.NewSyscallError("sysinfo", err)
	}
	return (int64(info.Totalram) + int64(info.Totalswap)) * int64(info.Unit), nil
}
