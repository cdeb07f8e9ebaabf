package sandbox

import (
	"slices"
	"syscall"
)

// Calls names a set of system calls that a server may make. Every set contains
// what the Go runtime and the ipc loop need.
//
// A call that is not in the set is answered by EPERM, because a list can be
// wrong (a new Go release, an unusual code path), and a server that reports a
// failed call can be mended while one that is killed for it is an outage that
// repeats. The calls in fatalCalls end the process (SIGSYS) instead: nothing in
// the binary makes them, so the process is no longer running our code.
// Newer calls than the list knows of are thus denied as well; clone3 gets
// ENOSYS, which makes callers use clone, whose flags a filter can see.
type Calls string

const (
	// ServerCalls are enough for a server that only speaks ipc.
	ServerCalls Calls = "server"
	// StorageCalls add io_uring, and locks and sizes of devices.
	StorageCalls Calls = "storage"
	// LinkCalls are for a gateway that joins a link, given by descriptors, to a port of
	// the network server: it makes memory, as every client does.
	LinkCalls Calls = "link"
	// SocketCalls are for a gateway that carries connections on sockets of the host:
	// those of LinkCalls, and making sockets of IPv4 and IPv6. Its network namespace is
	// the host's.
	SocketCalls Calls = "socket"
)

func (c Calls) known() bool { return slices.Contains(knownCalls, c) }

var knownCalls = []Calls{ServerCalls, StorageCalls, LinkCalls, SocketCalls}

// rule allows a call only if one of its arguments (the low 32 bits: the kernel
// looks at no more of them) passes a test.
type rule struct {
	call     string
	argument int
	mask     uint32   // 0: all bits
	values   []uint32 // one of which argument&mask must be
}

// names of the calls in the set that are allowed whatever their arguments.
func (c Calls) names() []string {
	names := slices.Clone(runtimeCalls)
	names = append(names, descriptorCalls...)
	switch c {
	case StorageCalls:
		names = append(names, storageCalls...)
	case LinkCalls:
		names = append(names, clientCalls...)
		names = append(names, linkCalls...)
	case SocketCalls:
		names = append(names, clientCalls...)
		names = append(names, socketCalls...)
	}
	return names
}

func (c Calls) rules() []rule {
	rules := slices.Clone(runtimeRules)
	switch c {
	case StorageCalls:
		rules = append(rules, storageRules...)
	case LinkCalls:
		rules = append(append(rules, clientRules...), linkRules...)
	case SocketCalls:
		rules = append(append(rules, clientRules...), socketRules...)
	}
	return merge(nil, rules)
}

// merge adds rules to others. Those of one call and argument become one, since the
// first of a call decides.
func merge(to, rules []rule) []rule {
	for _, r := range rules {
		i := slices.IndexFunc(to, func(o rule) bool { return o.call == r.call && o.argument == r.argument && o.mask == r.mask })
		if i < 0 {
			to = append(to, r)
			continue
		}
		to[i].values = append(slices.Clone(to[i].values), r.values...)
	}
	return to
}

var runtimeCalls = []string{
	"futex", "futex_waitv", "nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday", "sched_yield", "getcpu",
	"sched_getaffinity", "sched_setaffinity", "getrandom", "gettid", "getpid",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
	"munmap", "madvise", "mremap", "mlock", "munlock", "mseal",
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "eventfd2", "pipe2",
	"exit", "exit_group", "set_robust_list", "rseq", "getrusage",
}

// descriptorCalls use descriptors the process has, and make no new objects.
var descriptorCalls = []string{
	"read", "write", "readv", "writev", "close", "fstat", "fstatfs", "lseek", "dup", "dup3",
	"recvmsg", "sendmsg", "recvfrom", "sendto", "shutdown", "getsockopt", "getsockname", "getpeername",
}

var storageCalls = []string{
	"io_uring_enter", // of the rings that Enter reserved; io_uring_setup would make unrestricted ones
	"pread64", "pwrite64", "preadv", "pwritev", "flock", "fsync", "fdatasync", "fallocate",
}

// clientCalls make memory files, which a client shares with its server.
var clientCalls = []string{"memfd_create", "ftruncate"}

var linkCalls = []string{"recvmmsg", "sendmmsg"}

var socketCalls = []string{"connect", "bind", "listen", "accept4", "setsockopt", "recvmmsg", "sendmmsg"}

const (
	// cloneThread is what makes a thread, cloneMore what makes more than that:
	// namespaces, another parent, a tracer.
	cloneThread = syscall.CLONE_VM | syscall.CLONE_FILES | syscall.CLONE_SIGHAND | syscall.CLONE_THREAD
	cloneMore   = syscall.CLONE_NEWNS | syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC |
		syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
		syscall.CLONE_PTRACE | syscall.CLONE_VFORK | syscall.CLONE_PARENT

	atEmptyPath     = 0x1000     // AT_EMPTY_PATH
	fcntlAddSeals   = 1033       // F_ADD_SEALS
	fcntlGetSeals   = 1034       // F_GET_SEALS
	prctlNameMemory = 0x53564d41 // PR_SET_VMA, of the Go runtime
)

var runtimeRules = []rule{
	{call: "clone", argument: 0, mask: cloneThread | cloneMore, values: []uint32{cloneThread}},
	// Memory is written or executed, never both: no code but the binary's.
	{call: "mmap", argument: 2, mask: syscall.PROT_EXEC, values: []uint32{0}},
	{call: "mprotect", argument: 2, mask: syscall.PROT_EXEC, values: []uint32{0}},
	{call: "fcntl", argument: 1, values: []uint32{syscall.F_DUPFD, syscall.F_GETFD, syscall.F_SETFD,
		syscall.F_GETFL, syscall.F_SETFL, syscall.F_DUPFD_CLOEXEC, fcntlGetSeals}},
	{call: "prctl", argument: 0, values: []uint32{syscall.PR_SET_NAME, prctlNameMemory}},
}

var storageRules = []rule{
	// ENABLE_RINGS and what internal/unix/uring registers.
	{call: "io_uring_register", argument: 1, values: []uint32{12, 2, 4, 15, 16}},
	// Of a descriptor, for its I/O alignment: with a path it meets the empty root.
	{call: "statx", argument: 2, values: []uint32{atEmptyPath}},
	// BLKGETSIZE64, BLKSSZGET, BLKPBSZGET, BLKROGET, BLKDISCARD, BLKZEROOUT, BLKDISCARDZEROES
	{call: "ioctl", argument: 1, values: []uint32{0x80081272, 0x1268, 0x127b, 0x125e, 0x1277, 0x127f, 0x127c}},
}

var clientRules = []rule{
	{call: "fcntl", argument: 1, values: []uint32{fcntlAddSeals}},
}

var linkRules = []rule{
	// TUNGETIFF, TUNSETVNETHDRSZ, TUNSETOFFLOAD
	{call: "ioctl", argument: 1, values: []uint32{0x800454d2, 0x400454d8, 0x400454d0}},
}

var socketRules = []rule{
	{call: "socket", argument: 0, values: []uint32{syscall.AF_INET, syscall.AF_INET6}},
}

// fatalCalls are ways out of a sandbox, or into another process.
var fatalCalls = []string{
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
	"mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "fsopen", "fsconfig", "fsmount", "fspick",
	"move_mount", "open_tree", "mount_setattr", "open_by_handle_at", "name_to_handle_at",
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "bpf", "perf_event_open", "userfaultfd",
	"keyctl", "add_key", "request_key", "reboot", "swapon", "swapoff", "acct", "quotactl", "settimeofday", "clock_settime",
	"sethostname", "setdomainname", "syslog", "iopl", "ioperm", "modify_ldt",
}
