package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
)

const (
	sideVariable = "QUINTET_BENCH_SIDE" // name of the side to run
	taskVariable = "QUINTET_BENCH_TASK" // its task, as JSON
	// sideFilesFirst is the descriptor number of the first file passed to a side.
	sideFilesFirst = 3
	// sideGrace is how long a side may take beyond the time it measures.
	sideGrace = 30 * time.Second
)

// task is what a side is told.
type task struct {
	Duration time.Duration
	Socket   string // path of a Unix socket
	Window   int    // requests in flight, for each goroutine
	Callers  int    // goroutines that call
	Sleeping bool   // no spinning
	Write    bool   // rather than read
	Collect  bool   // time garbage collections meanwhile
	HeapMiB  int    // that they have to look at
	CPU      int    // for the thread that calls or serves, or anyCPU
	Geometry ipc.Geometry

	// Of the ext4 benchmarks.
	Files      string // what is used: one of the kinds of sides
	Work       string // what is done
	Image      string // path; empty: a volume in memory
	Mountpoint string // directory
	Entries    int    // of the directory in the image
	Direct     bool   // past the page cache
	Note       string // for the conditions

	// Of the network benchmarks.
	Network string // kind of network that the side joins
	Program int    // which one it is
	MTU     int    // bytes
	PIDs    []int  // of all other processes whose time counts

	wrap   []string // command that the measuring side is started under
	binary string   // to start instead of this one
}

// sides are the roles this binary plays when a benchmark starts it again. A
// measuring side returns its result; a serving side returns when stdin ends,
// which is when whoever measures has finished or died.
var sides = map[string]func(task) (any, error){
	"socket-server":    serveSocket,
	"socket-client":    callSocket,
	"ipc-server":       serveSession,
	"ipc-client":       callSession,
	"gc-alone":         collectAlone,
	"queue-slots":      queueSlots,
	"queue-scq":        queueSCQ,
	"queue-channel":    queueChannel,
	"volume":           useVolume,
	"storage-attacker": attackStorage,
	"ext4":             useFiles,
	"frames":           sendFrames,
	"attacker":         attackNeighbours,
	"traffic-to":       serveTraffic,
	"traffic-from":     sendTraffic,
}

// RunSide plays the role that a benchmark started this process for, and reports
// whether there was one. A program that offers the benchmarks calls it first in
// main, and ends when it returns true.
func RunSide() bool {
	name := os.Getenv(sideVariable)
	if name == "" {
		return false
	}
	if err := runSide(name); err != nil {
		fmt.Fprintf(os.Stderr, "benchmark side %s: %v\n", name, err)
		os.Exit(1)
	}
	return true
}

func runSide(name string) error {
	run, known := sides[name]
	if !known {
		return errors.New("unknown")
	}
	var t task
	if err := json.Unmarshal([]byte(os.Getenv(taskVariable)), &t); err != nil {
		return err
	}
	result, err := run(t)
	if err != nil || result == nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// untilReleased returns when the benchmark that started this side lets it go.
func untilReleased() { _, _ = io.Copy(io.Discard, os.Stdin) }

// startProgram starts another program that measures and prints a result.
func startProgram(ctx context.Context, path string, args ...string) (*process, error) {
	return startProcess(path, exec.CommandContext(ctx, path, args...), anyCPU)
}

// anyCPU leaves a side free to run on every processor.
const anyCPU = -1

// process is a running side.
type process struct {
	name    string
	command *exec.Cmd
	stdin   io.Closer
	stdout  strings.Builder
	stderr  strings.Builder
}

// startSide starts this binary again in the role of name, bound to cpu.
func startSide(ctx context.Context, name string, t task, cpu int, files ...*os.File) (*process, error) {
	command, err := sideCommand(ctx, name, t, files)
	if err != nil {
		return nil, err
	}
	return startProcess(name, command, cpu)
}

// startSideIn starts it in a network namespace.
func startSideIn(ctx context.Context, space *netns.Namespace, name string, t task) (*process, error) {
	command, err := sideCommand(ctx, name, t, nil)
	if err != nil {
		return nil, err
	}
	return startBy(name, command, func() error { return space.Start(command) })
}

func sideCommand(ctx context.Context, name string, t task, files []*os.File) (*exec.Cmd, error) {
	exe := t.binary
	if exe == "" {
		var err error
		if exe, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("start benchmark side %s: %w", name, err)
		}
	}
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	line := append(slices.Clone(t.wrap), exe)
	command := exec.CommandContext(ctx, line[0], line[1:]...)
	command.Env = append(os.Environ(), sideVariable+"="+name, taskVariable+"="+string(text))
	command.ExtraFiles = files
	return command, nil
}

func startProcess(name string, command *exec.Cmd, cpu int) (*process, error) {
	return startBy(name, command, func() error { return onCPU(cpu, command.Start) })
}

func startBy(name string, command *exec.Cmd, start func() error) (*process, error) {
	p := &process{name: name, command: command}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.stdin = stdin
	command.Stdout, command.Stderr = &p.stdout, &p.stderr
	command.WaitDelay = time.Second
	if err := start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// release ends a serving side and waits for it.
func (p *process) release() error {
	_, err := p.wait()
	return err
}

// wait returns what a side has printed, when it has ended.
func (p *process) wait() (string, error) {
	_ = p.stdin.Close()
	if err := p.command.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", p.name, err, p.stderr.String())
	}
	return p.stdout.String(), nil
}

// result waits for a measuring side and decodes what it has printed.
func (p *process) result(into any) error {
	text, err := p.wait()
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("%s printed %q: %w", p.name, text, err)
	}
	return nil
}

// onCPU calls start on a thread bound to cpu, so that a process started there
// is bound too.
func onCPU(cpu int, start func() error) error {
	if cpu == anyCPU {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := unix.ThreadAffinity()
	if err != nil {
		return err
	}
	if err := unix.OneCPU(cpu).Set(); err != nil {
		return err
	}
	return errors.Join(start(), before.Set())
}
