// Package sandbox gives a server process the least it can run with: its
// descriptors, and nothing else.
//
// # Use
//
// The supervisor keeps one [Launcher] and calls [Launcher.Start] for every
// server. The program it starts (usually its own, by an internal subcommand) calls [Enter] as the first thing in main, before it opens
// anything, and passes the [Report] on to the supervisor:
//
//	// supervisor                                     // server
//	l, err := sandbox.NewLauncher()                   func main() {
//	p, err := l.Start(sandbox.Spec{                       report, err := sandbox.Enter()
//	    Path:  "/proc/self/exe",                          // descriptor 3 is control
//	    Args:  []string{"server", "storage"},    ...
//	    Files: []*os.File{control}, // 3, 4, ...      }
//	    Stderr: log,
//	    Profile: sandbox.Profile{Name: "storage/data", Calls: sandbox.StorageCalls, Rings: volumes},
//	})
//	p.Pidfd.Wait()     // death;  p.Pidfd.Signal(SIGKILL) kills
//	state, err := p.Reap()
//
// # What is taken away
//
//   - namespaces: user, mount, pid, network, ipc, uts and cgroup of its own, and,
//     when the supervisor is root, a user of its own that owns nothing;
//   - root: an empty, read-only directory that may not even be listed; the old
//     one is detached;
//   - descriptors: all but standard input (/dev/null), output and error, and Files;
//   - privileges: no_new_privs, every capability set empty, bounding set included;
//   - landlock: all file system, TCP, signal and abstract socket access, should
//     one of the above fail to hold;
//   - of these, a gateway with SocketCalls keeps the host's network and TCP: what the
//     host can reach, it can, and carrying that is what it is for;
//   - seccomp: an allow-list ([Calls]); see there for what happens to the rest;
//   - rlimits: descriptors, threads, locked memory; no core dump. There is no
//     address space limit, since Go reserves address space it never uses;
//   - not dumpable: no tracing and no reading of its memory, by its own user either;
//   - cgroup: memory and number of threads, where the supervisor has one to divide.
//
// Every measure reports whether it is in force and why not; none that fails
// keeps the server from running, since a host without user namespaces is
// still better served with the remaining measures than not at all. The
// caller decides: see [Report.Degraded].
//
// # What remains reachable
//
// Processor time, memory within the limits, and whatever the descriptors allow.
//
// io_uring makes requests that no seccomp filter sees, and some kinds of socket
// (vsock, for one) know neither namespaces nor Landlock. So the server cannot make
// rings: Enter reserves as many as the Profile says, which the kernel restricts to
// reading and writing, and uring.New hands those out. Each open volume
// needs one; the server gives none back.
//
// # Life and death
//
// A server is process 1 of its pid namespace. The kernel ignores signals from
// *inside* the namespace that process 1 has no handler for, SIGKILL included; the
// supervisor's come from an ancestor namespace, so SIGKILL and SIGSTOP work
// as ever, while SIGTERM needs a handler, which the Go runtime installs (it
// then ends the process, or informs signal.Notify): pid_namespaces(7). For the
// same reason a Go program that dies of a signal it raises itself ends with
// exit status 2 instead. The server is killed when the supervisor's launching
// thread ends; the Launcher keeps one for its lifetime, so servers die with the
// supervisor, however it dies.
//
// The binary must be built with CGO_ENABLED=0: capabilities and Landlock belong
// to threads, and the Go runtime can change only threads that it owns. With cgo
// both are reported as degraded.
//
// # Trust
//
// The supervisor trusts the host and the Spec; it trusts nothing that the
// server says once Enter has returned, the Report excepted, which it receives
// before the server has touched anything of a client.
package sandbox
