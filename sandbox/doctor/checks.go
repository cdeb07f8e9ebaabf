package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/uring"
	"github.com/quintet-os/quintet/sandbox"
)

var checks = []check{
	{"kernel", true, "sessions need 5.16, io_uring is at its best from 6.1", kernel},
	{"io_uring", false, "volumes on files and devices", ioUring},
	{"memfd seals", true, "memory that one side writes and the other only reads", works(Missing, "use Linux 5.1 or newer, with memfd_create allowed", unix.PrivateMemfd)},
	{"pidfd", true, "learning of a death at once", works(Missing, "use Linux 5.10 or newer", ownPidfd)},
	{"futex_waitv", true, "one waiter for all sessions of a process", works(Missing, "use Linux 5.16 or newer; a container's seccomp profile may deny it", unix.FutexWaitvSupported)},
	{"user namespaces", false, "servers with a root, network and processes of their own", userNamespaces},
	{"seccomp", false, "servers limited to the system calls they need", seccomp},
	{"Landlock", false, "files and sockets denied even where namespaces fail", landlock},
	{"threads", false, "capabilities and Landlock taken from every thread", works(Degraded, "build with CGO_ENABLED=0, as make build does", unix.OwnThreads)},
	{"cgroups", false, "limits on the memory and threads of a server", cgroups},
	{"descriptors", false, "a session takes three descriptors of its server", limit(unix.LimitDescriptors, 1<<14, "")},
	{"locked memory", false, "regions pinned for device I/O", limit(unix.LimitLocked, 1<<30, " bytes")},
	{"processors", false, "waiting by spinning instead of sleeping", processors},
	{"cpu_dma_latency", false, "keeping idle processors quick to wake", opens("/dev/cpu_dma_latency", os.O_WRONLY, Degraded, "run as root, or let your group write /dev/cpu_dma_latency by a udev rule; sleeping round trips are several times slower without")},
	{"direct I/O", false, "volumes on files in the state directory", directIO},
	{"mseal", false, "mappings that nothing can undo", works(Degraded, "use Linux 6.10 or newer", unix.MsealSupported)},
	{"protection keys", false, "session memory that a wild write cannot reach", works(Missing, "use a processor with them (x86: PKU), exposed to the virtual machine if this is one", unix.PkeysSupported)},
	{"loop devices", false, "tests of volumes on block devices", opens("/dev/loop-control", os.O_RDWR, Missing, "run those tests as root, with the loop module loaded")},
	{"KVM", false, "virtual machines as clients", opens("/dev/kvm", os.O_RDWR, Missing, "join the group kvm; enable virtualisation in the firmware or the host")},
	{"TAP", false, "network uplinks on a TAP device", opens("/dev/net/tun", os.O_RDWR, Missing, "load the tun module, and run as root or own the device (ip tuntap add mode tap user NAME)")},
	{"ping sockets", false, "echo requests through a user uplink", works(Degraded, "sysctl net.ipv4.ping_group_range='0 2147483647'", pingSocket)},
	{"AF_XDP", false, "network uplinks at the full rate of an adapter", works(Missing, "run as root (CAP_NET_RAW, CAP_BPF); use a kernel with CONFIG_XDP_SOCKETS", unix.XDPSupported)},
}

// works makes a look of something that either succeeds or does not.
func works(otherwise State, mend string, try func() error) func(string) (State, string, string) {
	return func(string) (State, string, string) {
		if err := try(); err != nil {
			return otherwise, err.Error(), mend
		}
		return OK, "works", ""
	}
}

func opens(path string, flags int, otherwise State, mend string) func(string) (State, string, string) {
	return func(string) (State, string, string) {
		f, err := os.OpenFile(path, flags, 0)
		if err != nil {
			return otherwise, err.Error(), mend
		}
		_ = f.Close()
		return OK, path, ""
	}
}

func kernel(string) (State, string, string) {
	const mend = "install a newer kernel"
	release, err := unix.KernelRelease()
	if err != nil {
		return Missing, err.Error(), mend
	}
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return Degraded, release, "its version cannot be read; the other checks tell more"
	}
	switch version := major*1000 + minor; {
	case version < 5016:
		return Missing, release, mend
	case version < 6001:
		return Degraded, release, mend
	}
	return OK, release, ""
}

func ioUring(string) (State, string, string) {
	// A ring belongs to the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := uring.New(8, uring.ModeDefer)
	if err != nil {
		disabled, _ := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
		return Missing, fmt.Sprintf("%v (kernel.io_uring_disabled is %q)", err, strings.TrimSpace(string(disabled))),
			"sysctl kernel.io_uring_disabled=0; in a container, allow it in the seccomp profile. Volumes in memory work without"
	}
	defer ring.Close()
	if ring.Mode() != uring.ModeDefer {
		return Degraded, "works, without DEFER_TASKRUN", "use Linux 6.1 or newer for less processor time per request"
	}
	return OK, "works, with DEFER_TASKRUN", ""
}

func ownPidfd() error {
	p, err := unix.OpenPidfd(os.Getpid())
	if err != nil {
		return err
	}
	return p.Close()
}

func pingSocket() error {
	f, err := unix.OpenPing(false)
	if err != nil {
		return err
	}
	return f.Close()
}

func userNamespaces(string) (State, string, string) {
	const isolated = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
		syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP
	if restricted, err := os.ReadFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"); err == nil && os.Geteuid() != 0 && strings.TrimSpace(string(restricted)) == "1" {
		return Degraded, "restricted by AppArmor", "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give quintet an AppArmor profile with userns; until then Landlock and seccomp confine servers alone"
	}
	if err := unix.NamespacesSupported(isolated); err != nil {
		return Degraded, err.Error(), "sysctl user.max_user_namespaces=65536 (Debian: also kernel.unprivileged_userns_clone=1), or run as root; until then Landlock and seccomp confine servers alone"
	}
	return OK, "works", ""
}

func seccomp(string) (State, string, string) {
	if !unix.SeccompSupports(unix.SeccompKillProcess) {
		return Missing, "no filters that end a process", "use a kernel with CONFIG_SECCOMP_FILTER, 4.14 or newer"
	}
	return OK, "works", ""
}

func landlock(string) (State, string, string) {
	const scopes = 6 // ABI that knows signals and abstract sockets
	abi, err := unix.LandlockABI()
	switch {
	case err != nil:
		return Missing, err.Error(), "boot with lsm=landlock,... on a kernel with CONFIG_SECURITY_LANDLOCK"
	case abi < scopes:
		return Degraded, fmt.Sprintf("ABI %d", abi), "use Linux 6.12 or newer, whose Landlock knows sockets and signals as well"
	}
	return OK, fmt.Sprintf("ABI %d", abi), ""
}

func cgroups(string) (State, string, string) {
	if found, err := sandbox.CgroupSupport(); err != nil {
		return Degraded, err.Error(), "run under systemd-run --user --scope -p Delegate=yes, or as root; until then a server's memory is not limited"
	} else {
		return OK, found, ""
	}
}

func limit(resource int, least uint64, unit string) func(string) (State, string, string) {
	return func(string) (State, string, string) {
		_, hard, err := unix.Limits(resource)
		switch {
		case err != nil:
			return Degraded, err.Error(), "look at ulimit -H"
		case hard == unix.Unlimited:
			return OK, "unlimited", ""
		case hard < least:
			return Degraded, fmt.Sprintf("%d%s", hard, unit), fmt.Sprintf("raise the hard limit to %d%s or more (/etc/security/limits.conf, LimitNOFILE= and LimitMEMLOCK= in systemd units)", least, unit)
		}
		return OK, fmt.Sprintf("%d%s", hard, unit), ""
	}
}

func processors(string) (State, string, string) {
	n := runtime.NumCPU()
	switch {
	case n == 1:
		return Degraded, "1", "with one processor nothing spins, and every round trip is two context switches; give it two or more"
	case n == 2:
		return Degraded, "2", "one client and one server fill them when both spin; more clients sleep"
	}
	return OK, fmt.Sprint(n), ""
}

// directIO looks at the directory, or at the one it will be made in.
func directIO(directory string) (State, string, string) {
	for {
		_, err := os.Stat(directory)
		if above := filepath.Dir(directory); errors.Is(err, os.ErrNotExist) && above != directory {
			directory = above
			continue
		}
		break
	}
	if errors.Is(unix.MayCreateIn(directory), os.ErrPermission) {
		return Degraded, fmt.Sprintf("%s: not writable by this user", directory), "choose a state directory of your own with --state, or set XDG_RUNTIME_DIR"
	}
	if err := unix.DirectIO(directory); err != nil {
		return Degraded, fmt.Sprintf("%s: %v", directory, err), "keep volumes on ext4, xfs or btrfs; here they would go through the page cache"
	}
	return OK, directory, ""
}
