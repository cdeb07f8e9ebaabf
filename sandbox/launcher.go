package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
)

// launchEnv carries the launch record from Start to Enter.
const launchEnv = "QUINTET_SANDBOX"

// runtimeEnv keeps the Go runtime of the process from holding descriptors of
// its cgroup and from looking at them later; it gets the supervisor's number of
// processors instead.
const runtimeEnv = "GODEBUG=containermaxprocs=0,updatemaxprocs=0"

// ErrClosed is returned by Start after Close.
var ErrClosed = errors.New("sandbox: launcher is closed")

// Launcher starts sandboxed processes. Its methods are safe for concurrent
// use; launches are made one after another, on a thread that lives as long as
// the Launcher, since the death of that thread kills what it launched.
type Launcher struct {
	requests chan func()
	done     chan struct{}
	close    sync.Once

	// Of the launching thread only:
	plan      int // index of the first plan not yet refused
	next      uint32
	groups    cgroups
	groupless error // why there are no groups
}

// Spec describes one process to start.
type Spec struct {
	Path   string     // of the program, which calls Enter first
	File   *os.File   // the program, if Path is only its name; nil: Path is opened
	Args   []string   // without the program's name
	Env    []string   // the environment, but for GOMAXPROCS and GODEBUG, which it may replace
	Files  []*os.File // descriptors 3, 4, ... of the process
	Stderr *os.File   // standard output and error; nil: /dev/null
	Profile
}

// Process is a started process. Its fields are read-only.
type Process struct {
	Pid   int         // in the supervisor's namespace
	Pidfd *unix.Pidfd // closed by Reap

	cmd    *exec.Cmd
	cgroup *cgroup
}

// launch is what the process must know to build its side of the sandbox.
type launch struct {
	Profile Profile `json:"profile"`
	Files   int     `json:"files"`  // handed over, from descriptor 3 on
	Rooted  bool    `json:"rooted"` // there is a mount namespace to empty
	Capable bool    `json:"capable"`
	Report  Report  `json:"report"`
}

// NewLauncher starts the launching thread. It raises the limits of descriptors
// and locked memory of the calling process as far as the host lets it, since
// a sandboxed process can only lower them.
func NewLauncher() (*Launcher, error) {
	for _, resource := range []int{unix.LimitDescriptors, unix.LimitLocked} {
		if err := raiseLimit(resource); err != nil {
			return nil, fmt.Errorf("sandbox: raise limit %d for servers: %w", resource, err)
		}
	}
	l := &Launcher{requests: make(chan func()), done: make(chan struct{})}
	if l.groups, l.groupless = findCgroups(); l.groupless == nil {
		l.groups.sweep()
		l.groupless = l.groups.prepare()
	}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for {
			select {
			case start := <-l.requests:
				start()
			case <-l.done:
				return
			}
		}
	}()
	return l, nil
}

// Close ends the launching thread, and with it every process it launched.
func (l *Launcher) Close() { l.close.Do(func() { close(l.done) }) }

// Start runs a program in a sandbox of its own, once it has called Enter. It
// fails if the program cannot be executed; measures that the host refuses are
// left out and reported by Enter. The descriptors in spec remain the caller's.
func (l *Launcher) Start(spec Spec) (*Process, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	var p *Process
	var err error
	if !l.do(func() { p, err = l.start(spec) }) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox: start %s (%s): %w", spec.Name, spec.Path, err)
	}
	return p, nil
}

// do runs f on the launching thread; false after Close.
func (l *Launcher) do(f func()) bool {
	finished := make(chan struct{})
	select {
	case <-l.done:
		return false
	case l.requests <- func() { f(); close(finished) }:
		<-finished
		return true
	}
}

// LimitMemory puts a running process, with what it starts from now on, into a
// cgroup of its own that may use so many bytes, page cache included. release
// removes the group, once nobody is in it any more. It fails where the host lets
// this user make no cgroups, or not move the process.
func (l *Launcher) LimitMemory(pid int, bytes int64) (release func(), err error) {
	var group *cgroup
	ok := l.do(func() {
		if err = l.groupless; err != nil {
			return
		}
		l.next++
		if group, err = l.groups.create(fmt.Sprintf(groupName, os.Getpid(), l.next), Limits{MemoryBytes: bytes}); err != nil {
			return
		}
		if err = group.adopt(pid); err != nil {
			group.remove()
		}
	})
	if !ok {
		err = ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox: limit the memory of process %d: %w", pid, err)
	}
	return group.remove, nil
}

func (l *Launcher) start(spec Spec) (*Process, error) {
	// The program is executed by descriptor: the server's user may not be
	// allowed to search the directories on the way to it.
	program := spec.File
	if program == nil {
		var err error
		if program, err = os.Open(spec.Path); err != nil {
			return nil, err
		}
		defer program.Close()
	}
	// What the supervisor itself inherited may lack the mark.
	if err := unix.CloseOnExecFrom(3); err != nil {
		return nil, fmt.Errorf("mark descriptors close-on-exec: %w", err)
	}
	l.next++
	plans := plansFor(os.Geteuid(), os.Getegid(), l.next)
	for ; ; l.plan++ {
		p, err := l.run(spec, program, plans[l.plan])
		if err == nil || l.plan == len(plans)-1 || !refused(err) {
			return p, err
		}
	}
}

func (l *Launcher) run(s Spec, program *os.File, plan plan) (*Process, error) {
	var report Report
	plan.report(&report, s.hostNetwork())
	var group *cgroup
	err := l.groupless
	if err == nil {
		group, err = l.groups.create(fmt.Sprintf(groupName, os.Getpid(), l.next), s.Limits.withDefaults())
	}
	report.add("cgroup", fmt.Sprintf("version %d", l.groups.version), err)
	record, err := json.Marshal(launch{Profile: s.Profile, Files: len(s.Files), Rooted: plan.rooted, Capable: plan.capable, Report: report})
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path:        fmt.Sprintf("/proc/self/fd/%d", 3+len(s.Files)),
		Args:        append([]string{s.Path}, s.Args...),
		Env:         append([]string{launchEnv + "=" + string(record), runtimeEnv, "GOMAXPROCS=" + strconv.Itoa(runtime.GOMAXPROCS(0))}, s.Env...),
		Dir:         "/",
		ExtraFiles:  append(s.Files[:len(s.Files):len(s.Files)], program),
		SysProcAttr: plan.attributes(s.hostNetwork()),
	}
	if s.Stderr != nil {
		cmd.Stdout, cmd.Stderr = s.Stderr, s.Stderr
	}
	group.place(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		group.remove()
		return nil, err
	}
	p := &Process{Pid: cmd.Process.Pid, cmd: cmd, cgroup: group}
	// The pid cannot be taken by another before Reap. The descriptor that os/exec
	// has must stay blocking, for waitid(2), so this is one more.
	if p.Pidfd, err = unix.OpenPidfd(p.Pid); err == nil {
		if group != nil && group.handle == nil {
			err = group.adopt(p.Pid)
		}
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_, _ = p.Reap()
		return nil, err
	}
	return p, nil
}

// LimitMemory changes the limit that the profile has set, in bytes. Without a group
// there is none to change. A limit below what is in use may be refused. It may wait
// for the kernel to take memory back.
func (p *Process) LimitMemory(bytes int64) error {
	if p.cgroup == nil {
		return nil
	}
	return p.cgroup.limitMemory(bytes)
}

// OutOfMemory tells, before Reap, whether the kernel has killed the process because
// its group used more memory than it may.
func (p *Process) OutOfMemory() bool { return p.cgroup != nil && p.cgroup.starved() }

// Reap waits for the process to end, releases what the supervisor held of it
// and returns how it ended. To be called exactly once.
func (p *Process) Reap() (*os.ProcessState, error) {
	err := p.cmd.Wait()
	if p.Pidfd != nil {
		_ = p.Pidfd.Close()
	}
	p.cgroup.remove()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil // how it ended is the result, not a failure
	}
	return p.cmd.ProcessState, err
}

// refused tells whether err is the host's refusal of a namespace rather than
// a fault of the program.
func refused(err error) bool {
	for _, e := range []syscall.Errno{syscall.EPERM, syscall.ENOSPC, syscall.EUSERS, syscall.EINVAL, syscall.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// raiseLimit raises a limit as far as the host lets this process.
func raiseLimit(resource int) error {
	soft, hard, err := unix.Limits(resource)
	if err != nil {
		return err
	}
	if resource == unix.LimitLocked && unix.SetLimits(resource, unix.Unlimited, unix.Unlimited) == nil {
		return nil
	}
	if soft == hard {
		return nil
	}
	return unix.SetLimits(resource, hard, hard)
}
