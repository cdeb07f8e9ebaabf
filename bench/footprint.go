package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/quintet-os/quintet/app"
)

const (
	// idleSettle is how long nobody asks for anything before idleness is measured.
	idleSettle = time.Second
	// idleWindow is the least time over which it is measured.
	idleWindow = 10 * time.Second
	// sessionsMany is the number of sessions whose memory is measured.
	sessionsMany = 1000
)

// idle: the processor time of all processes of a system that nobody asks for
// anything, with one application connected.
func (s *store) idle(ctx context.Context) (rows []Row, err error) {
	err = s.during(ctx, func(running *system) error {
		a, err := running.connect(ctx)
		if err != nil {
			return err
		}
		defer a.Close()
		if _, err := a.Volume(ctx, systemVolume); err != nil {
			return err
		}
		state, err := running.ready(ctx)
		if err != nil {
			return err
		}
		time.Sleep(idleSettle)
		window := max(idleWindow, s.Duration)
		s.say("idle: watching for %v", window)
		used := func() (total time.Duration, err error) {
			for _, pid := range running.processes(state) {
				one, err := cpuTime(pid)
				if err != nil {
					return 0, err
				}
				total += one
			}
			return total, nil
		}
		before, err := used()
		if err != nil {
			return err
		}
		began := time.Now()
		time.Sleep(window)
		after, err := used()
		if err != nil {
			return err
		}
		c := here()
		c.Note = fmt.Sprintf("supervisor, server and standby, one application connected, over %v", window)
		rows = append(rows, Row{Name: "processor time of an idle system", Unit: "% of a core",
			Value: 100 * float64(after-before) / float64(time.Since(began)), Conditions: c})
		return nil
	})
	return rows, err
}

// memory: resident memory of the processes, and what a session adds to all of
// them together.
func (s *store) memory(ctx context.Context) (rows []Row, err error) {
	err = s.during(ctx, func(running *system) error {
		a, err := running.connect(ctx)
		if err != nil {
			return err
		}
		defer a.Close()
		state, err := running.ready(ctx)
		if err != nil {
			return err
		}
		processes := running.processes(state)
		c := here()
		for _, name := range []string{"supervisor", "server", "standby"} {
			bytes, err := resident(processes[name])
			if err != nil {
				return err
			}
			rows = append(rows, Row{Name: "resident memory, idle " + name, Unit: "MiB", Value: float64(bytes) / (1 << 20), Conditions: c})
		}
		processes["application"] = os.Getpid()
		before, err := residentAll(processes)
		if err != nil {
			return err
		}
		sessions, err := manySessions(ctx, a)
		if err != nil {
			return err
		}
		after, err := residentAll(processes)
		if err != nil {
			return err
		}
		c.Note = fmt.Sprintf("%d sessions with default buffers, one read each, growth of all four processes", sessionsMany)
		rows = append(rows, Row{Name: "resident memory, each session", Unit: "KiB",
			Value: float64(after-before) / sessionsMany / (1 << 10), Conditions: c})
		runtime.KeepAlive(sessions)
		return nil
	})
	return rows, err
}

// manySessions opens sessions and reads one block through each.
func manySessions(ctx context.Context, a *app.App) (open []*app.Volume, err error) {
	for i := range sessionsMany {
		v, err := a.Volume(ctx, systemVolume)
		if err != nil {
			return nil, fmt.Errorf("session %d: %w", i+1, err)
		}
		open = append(open, v)
		buffer, err := v.Buffers().Get(ctx, storageBlockBytes)
		if err != nil {
			return nil, err
		}
		if _, err := v.ReadBuffer(ctx, buffer, 0, storageBlockBytes, int64(i)*storageBlockBytes); err != nil {
			return nil, fmt.Errorf("session %d: %w", i+1, err)
		}
	}
	return open, nil
}

// cpuTime is the time that the threads of a process have run, from their
// schedstat, which counts in nanoseconds.
func cpuTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, fmt.Errorf("process %d has no schedstat", pid))
	}
	var total time.Duration
	for _, file := range files {
		ns, err := strconv.ParseInt(firstField(file), 10, 64)
		if err != nil {
			continue // the thread has ended
		}
		total += time.Duration(ns)
	}
	return total, nil
}

// resident is the resident memory of a process in bytes, shared pages included.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

func residentAll(processes map[string]int) (total int64, err error) {
	for _, pid := range processes {
		bytes, err := resident(pid)
		if err != nil {
			return 0, err
		}
		total += bytes
	}
	return total, nil
}
