package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
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
	thread *thread
	null   *os.File
	close  sync.Once

	mu        sync.Mutex // held during a launch
	plan      int        // index of the first plan not yet refused
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

	process *os.Process
	cgroup  *cgroup
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
	l := &Launcher{}
	var err error
	if l.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if l.thread, err = newThread(); err != nil {
		_ = l.null.Close()
		return nil, fmt.Errorf("sandbox: make the launching thread: %w", err)
	}
	if l.groups, l.groupless = findCgroups(); l.groupless == nil {
		l.groups.sweep()
		l.groupless = l.groups.prepare()
	}
	return l, nil
}

// Close ends the launching thread, and with it every process it launched.
func (l *Launcher) Close() {
	l.close.Do(func() {
		l.thread.close()
		_ = l.null.Close()
	})
}

// Start runs a program in a sandbox of its own, once it has called Enter. It
// fails if the program cannot be executed; measures that the host refuses are
// left out and reported by Enter. The descriptors in spec remain the caller's.
func (l *Launcher) Start(spec Spec) (*Process, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.start(spec)
	if err != nil && !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("sandbox: start %s (%s): %w", spec.Name, spec.Path, err)
	}
	return p, err
}

// LimitMemory puts a running process, with what it starts from now on, into a
// cgroup of its own that may use so many bytes, page cache included. release
// removes the group, once nobody is in it any more. It fails where the host lets
// this user make no cgroups, or not move the process.
func (l *Launcher) LimitMemory(pid int, bytes int64) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err = l.groupless; err == nil {
		l.next++
		var group *cgroup
		if group, err = l.groups.create(fmt.Sprintf(groupName, os.Getpid(), l.next), Limits{MemoryBytes: bytes}); err == nil {
			if err = group.adopt(pid); err == nil {
				return group.remove, nil
			}
			group.remove()
		}
	}
	return nil, fmt.Errorf("sandbox: limit the memory of process %d: %w", pid, err)
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
	output := s.Stderr
	if output == nil {
		output = l.null
	}
	e := &execution{
		path: fmt.Sprintf("/proc/self/fd/%d", 3+len(s.Files)),
		args: append([]string{s.Path}, s.Args...),
		// Of a variable that is there twice the first counts.
		env:        append(append([]string{launchEnv + "=" + string(record)}, s.Env...), runtimeEnv, "GOMAXPROCS="+strconv.Itoa(runtime.GOMAXPROCS(0))),
		files:      slices.Concat([]*os.File{l.null, output, output}, s.Files, []*os.File{program}),
		attributes: plan.attributes(s.hostNetwork()),
	}
	if group != nil {
		e.cgroup = group.handle
	}
	pid, ok, err := l.thread.execute(e)
	if !ok {
		err = ErrClosed
	}
	if err != nil {
		group.remove()
		return nil, err
	}
	p := &Process{Pid: pid, cgroup: group}
	if p.process, err = os.FindProcess(pid); err != nil {
		group.remove()
		return nil, err // it cannot fail: nobody else reaps it
	}
	// The pid cannot be taken by another before Reap. The descriptor that package os
	// has must stay blocking, for waitid(2), so this is one more.
	if p.Pidfd, err = unix.OpenPidfd(p.Pid); err == nil {
		if group != nil && group.handle == nil {
			err = group.adopt(p.Pid)
		}
	}
	if err != nil {
		_ = p.process.Kill()
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
	state, err := p.process.Wait()
	if p.Pidfd != nil {
		_ = p.Pidfd.Close()
	}
	p.cgroup.remove()
	return state, err
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
