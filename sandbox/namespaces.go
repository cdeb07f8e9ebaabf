package sandbox

import (
	"errors"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
)

const (
	// hostUserFirst starts the users that servers get when the supervisor is
	// root: 2^16 of the range that systemd's "Users, Groups, UIDs and GIDs"
	// lists as unused, so that no two servers, and no one else, share one.
	hostUserFirst = 0x7100_0000
	hostUsers     = 1 << 16

	// innerUser is how a server sees its own user and group: not 0, so that
	// nothing in it is ever privileged by its number.
	innerUser = 1
)

const separate = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
	syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP

// plan is one way to isolate a process, as far as clone(2) does it.
type plan struct {
	flags   uintptr
	user    uint32 // in the supervisor's namespace, or of the server's own map
	mapped  [2]int // host user and group behind innerUser, with CLONE_NEWUSER
	switchs bool   // become user (and drop all groups)
	rooted  bool
	capable bool // holds the capabilities to build the rest, until Enter drops them
	missing error
}

// plansFor lists the plans from the best to the last, which always works.
func plansFor(uid, gid int, number uint32) []plan {
	own := hostUserFirst + number%hostUsers
	if uid != 0 {
		return []plan{
			{flags: separate | syscall.CLONE_NEWUSER, user: innerUser, mapped: [2]int{uid, gid}, rooted: true, capable: true},
			{missing: errors.New("this host lets no ordinary user create user namespaces; see quintet doctor")},
		}
	}
	return []plan{
		{flags: separate | syscall.CLONE_NEWUSER, user: innerUser, mapped: [2]int{int(own), int(own)}, switchs: true, rooted: true, capable: true},
		{flags: separate, user: own, switchs: true, rooted: true, capable: true, missing: errors.New("all but a user namespace, which this host refuses; see quintet doctor")},
		{user: own, switchs: true, missing: errors.New("this host refuses to create namespaces; see quintet doctor")},
	}
}

func (p plan) report(r *Report, hostNetwork bool) {
	detail := "user mount pid net ipc uts cgroup"
	if hostNetwork {
		detail = "user mount pid ipc uts cgroup"
	}
	r.add("namespaces", detail, p.missing)
}

func (p plan) attributes(hostNetwork bool) *syscall.SysProcAttr {
	flags := p.flags
	if hostNetwork {
		flags &^= syscall.CLONE_NEWNET
	}
	// A process group of its own, so that no key of the supervisor's terminal reaches
	// it, but no session: sessions are groups of the kernel's scheduler, and sched_yield,
	// with which a server lets its clients run, ends at their bounds.
	a := &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if p.flags&syscall.CLONE_NEWUSER != 0 {
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: innerUser, HostID: p.mapped[0], Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: innerUser, HostID: p.mapped[1], Size: 1}}
		a.GidMappingsEnableSetgroups = p.switchs
	}
	if p.switchs {
		a.Credential = &syscall.Credential{Uid: p.user, Gid: p.user}
	}
	if p.capable {
		a.AmbientCaps = []uintptr{unix.CapSysAdmin, unix.CapSetpcap}
	}
	return a
}
