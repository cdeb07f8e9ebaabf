package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/quintet-os/quintet/internal/unix"
)

// cgroupMount is where every distribution mounts the cgroup file system, and
// below it, with version 1, one hierarchy for each controller.
const cgroupMount = "/sys/fs/cgroup"

// cgroups is the place where processes get groups of their own: a directory
// of the one hierarchy of version 2, or of each of the two of version 1.
type cgroups struct {
	version int
	bases   []string
}

// limitFiles are the files of a group that hold its limits.
var limitFiles = map[int]struct{ memory, threads string }{
	1: {"memory.limit_in_bytes", "pids.max"},
	2: {"memory.max", "pids.max"},
}

// findCgroups finds a place that this user may divide; it changes nothing. Root
// divides the top; others need a group delegated to them.
func findCgroups() (cgroups, error) {
	c := cgroups{version: 2, bases: []string{cgroupMount}}
	controllers, err := os.ReadFile(filepath.Join(cgroupMount, "cgroup.controllers"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		c = cgroups{version: 1, bases: []string{cgroupMount + "/memory", cgroupMount + "/pids"}}
	case err != nil:
		return c, err
	case !strings.Contains(string(controllers), "memory") || !strings.Contains(string(controllers), "pids"):
		return c, fmt.Errorf("version 2 has the controllers %q, memory and pids are needed", strings.TrimSpace(string(controllers)))
	}
	if os.Geteuid() != 0 {
		if c.version == 1 {
			return c, errors.New("version 1, which only root may divide")
		}
		own, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			return c, err
		}
		_, path, _ := strings.Cut(strings.TrimSpace(string(own)), "0::")
		c.bases[0] = filepath.Join(cgroupMount, path)
	}
	for _, base := range c.bases {
		if err := unix.MayCreateIn(base); err != nil {
			return c, fmt.Errorf("version %d, %s may not be divided: %w", c.version, base, err)
		}
	}
	return c, nil
}

// CgroupSupport tells how servers' memory and threads would be limited.
func CgroupSupport() (string, error) {
	c, err := findCgroups()
	return fmt.Sprintf("version %d", c.version), err
}

// groupName is that of the n-th process a supervisor started.
const groupName = "quintet-%d-%d"

// sweep removes the groups of supervisors that were killed before they could.
func (c cgroups) sweep() {
	for _, base := range c.bases {
		groups, _ := filepath.Glob(filepath.Join(base, "quintet-*"))
		for _, group := range groups {
			var pid, n int
			if _, err := fmt.Sscanf(filepath.Base(group), groupName, &pid, &n); err != nil {
				continue
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, os.ErrNotExist) {
				_ = os.Remove(group) // refused while a process is in it
			}
		}
	}
}

// prepare lets groups below the base have limits. In version 2 a group that
// has such children may have no processes, so this one moves into a child;
// the top is exempt: cgroups(7), "no internal processes".
func (c cgroups) prepare() error {
	if c.version == 1 {
		return nil
	}
	base := c.bases[0]
	if base != cgroupMount {
		own := filepath.Join(base, "supervisor")
		if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := writeLimit(own, "cgroup.procs", int64(os.Getpid())); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(base, "cgroup.subtree_control"), []byte("+memory +pids"), 0)
}

// cgroup is the group of one process.
type cgroup struct {
	version     int
	directories []string
	handle      *os.File // of version 2, to start the process in it
}

// create makes a group with limits. The name must be unique on the host.
func (c cgroups) create(name string, limits Limits) (*cgroup, error) {
	g := &cgroup{version: c.version}
	for _, base := range c.bases {
		directory := filepath.Join(base, name)
		if err := os.Mkdir(directory, 0o755); err != nil {
			g.remove()
			return nil, err
		}
		g.directories = append(g.directories, directory)
	}
	files := limitFiles[g.version]
	last := len(g.directories) - 1
	var err error
	if limits.Threads > 0 {
		err = writeLimit(g.directories[last], files.threads, int64(limits.Threads))
	}
	if limits.MemoryBytes > 0 {
		err = errors.Join(err, writeLimit(g.directories[0], files.memory, limits.MemoryBytes))
	}
	if err == nil && g.version == 2 {
		g.handle, err = os.Open(g.directories[0])
	}
	if err != nil {
		g.remove()
		return nil, err
	}
	return g, nil
}

// limitMemory changes the limit of the group, in bytes.
func (g *cgroup) limitMemory(bytes int64) error {
	return writeLimit(g.directories[0], limitFiles[g.version].memory, bytes)
}

// eventFiles of a group count the processes that the kernel has killed for what the
// group used, in a line "oom_kill N".
var eventFiles = map[int]string{1: "memory.oom_control", 2: "memory.events"}

// starved tells whether the kernel has killed a process of the group for what it used.
func (g *cgroup) starved() bool {
	text, err := os.ReadFile(filepath.Join(g.directories[0], eventFiles[g.version]))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			return n != "0"
		}
	}
	return false
}

// adopt moves a process, with what it starts later, into the group.
func (g *cgroup) adopt(pid int) error {
	for _, directory := range g.directories {
		if err := writeLimit(directory, "cgroup.procs", int64(pid)); err != nil {
			return fmt.Errorf("move process %d into its cgroup: %w", pid, err)
		}
	}
	return nil
}

// remove deletes the group, which must have no processes any more. One that
// still has is left to the host: it limits nothing else.
func (g *cgroup) remove() {
	if g == nil {
		return
	}
	if g.handle != nil {
		_ = g.handle.Close()
	}
	for _, directory := range g.directories {
		_ = os.Remove(directory)
	}
}

func writeLimit(directory, file string, value int64) error {
	return os.WriteFile(filepath.Join(directory, file), strconv.AppendInt(nil, value, 10), 0)
}
