package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/uring"
)

// ErrNotLaunched is returned by Enter in a process that no Launcher started.
var ErrNotLaunched = errors.New("sandbox: this is an internal command of the supervisor, not to be run by hand")

// Enter builds the process's own side of its sandbox. It must be the first
// thing a started program does: whatever it opens before, it keeps. When it
// returns, every thread of the process is confined for good; what could not be
// applied is in the report. The error is ErrNotLaunched or a damaged launch
// record; the program must then end.
func Enter() (Report, error) {
	l, err := received()
	if err != nil {
		return nil, err
	}
	return l.apply(l.steps()), nil
}

// received takes the launch record out of the environment.
func received() (*launch, error) {
	text, ok := os.LookupEnv(launchEnv)
	if !ok {
		return nil, ErrNotLaunched
	}
	l := &launch{}
	if err := json.Unmarshal([]byte(text), l); err != nil {
		return nil, fmt.Errorf("sandbox: launch record: %w", err)
	}
	if err := l.Profile.check(); err != nil {
		return nil, err
	}
	if err := os.Unsetenv(launchEnv); err != nil {
		return nil, fmt.Errorf("sandbox: clear the launch record: %w", err)
	}
	return l, nil
}

// step is one measure: it returns what it has done.
type step struct {
	name string
	take func() (detail string, err error)
}

func (l *launch) apply(steps []step) Report {
	// A name is a courtesy to ps(1): without it the sandbox is no weaker.
	_ = os.WriteFile("/proc/self/comm", []byte(l.Profile.Name), 0)
	r := l.Report
	for _, s := range steps {
		detail, err := s.take()
		r.add(s.name, detail, err)
	}
	return r
}

// steps go from what needs most to what leaves least: after the last one not
// one of the earlier would be possible.
func (l *launch) steps() []step {
	return []step{
		{"descriptors", func() (string, error) { return fmt.Sprintf("0-%d", 2+l.Files), unix.CloseInherited(3 + l.Files) }},
		{"rlimits", func() (string, error) { return "", l.limit() }},
		{"root", func() (string, error) { return "empty, read-only", l.emptyRoot() }},
		{"io_uring", func() (string, error) {
			return fmt.Sprintf("%d restricted rings", l.Profile.rings()), uring.Reserve(l.Profile.rings(), ringEntries)
		}},
		{"no_new_privs", func() (string, error) { return "", noNewPrivileges() }},
		{"landlock", func() (string, error) {
			abi, err := unix.LandlockDenyAll(l.Profile.hostNetwork())
			denied := "everything"
			if l.Profile.hostNetwork() {
				denied = "everything but TCP"
			}
			return fmt.Sprintf("ABI %d, %s denied", abi, denied), explainThreads(err)
		}},
		{"capabilities", func() (string, error) { return "none", explainThreads(l.dropCapabilities()) }},
		{"undumpable", func() (string, error) { return "", undumpable() }},
		{"seccomp", func() (string, error) {
			allowed, err := filter(l.Profile.Calls)
			if err == nil {
				err = unix.InstallSeccomp(allowed)
			}
			return string(l.Profile.Calls), err
		}},
	}
}

func (l *launch) limit() error {
	limits := l.Profile.Limits.withDefaults()
	var problems []error
	for _, each := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"core file size", unix.LimitCore, 0},
		{"descriptors", unix.LimitDescriptors, uint64(limits.Descriptors)},
		{"threads", unix.LimitProcesses, uint64(limits.Threads)},
		{"locked bytes", unix.LimitLocked, uint64(limits.LockedBytes)},
	} {
		if each.resource == unix.LimitProcesses && !l.Rooted {
			// Without a user namespace all processes of the user would count.
			problems = append(problems, errors.New("threads are not limited without a user namespace"))
			continue
		}
		if err := lowerLimit(each.resource, each.value); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", each.name, err))
		}
	}
	return errors.Join(problems...)
}

// lowerLimit sets a limit, or leaves a lower one as it is.
func lowerLimit(resource int, value uint64) error {
	_, hard, err := unix.Limits(resource)
	if err != nil {
		return err
	}
	value = min(value, hard)
	return unix.SetLimits(resource, value, value)
}

func (l *launch) emptyRoot() error {
	if !l.Rooted {
		return errors.New("no mount namespace to empty; Landlock alone denies files")
	}
	return unix.EnterEmptyRoot()
}

func (l *launch) dropCapabilities() error {
	if l.Capable {
		if err := unix.DropBoundingSet(); err != nil {
			return err
		}
	}
	return unix.DropCapabilities()
}

func noNewPrivileges() error {
	err := unix.NoNewPrivileges()
	if errors.Is(err, syscall.ENOTSUP) {
		// Seccomp then extends it from this thread to all.
		err = unix.NoNewPrivilegesHere()
	}
	return err
}

// undumpable also asks again for death with the supervisor, which the kernel
// forgets whenever the credentials change.
func undumpable() error {
	if err := unix.SetUndumpable(); err != nil {
		return err
	}
	return unix.SetParentDeathSignal(syscall.SIGKILL)
}

func explainThreads(err error) error {
	if errors.Is(err, syscall.ENOTSUP) {
		return errors.New("the binary was built with cgo, whose threads cannot be confined; build it with CGO_ENABLED=0")
	}
	return err
}
