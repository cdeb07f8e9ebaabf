package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// steadyWarmUp is how long a stream has run before anything is counted.
const steadyWarmUp = 500 * time.Millisecond

// steady: how often the processes enter the kernel for a frame while a stream goes
// on, and what they use of a processor when nothing does.
func (w *wire) steady(ctx context.Context) (rows []Row, err error) {
	results, err := w.alternateFigures(ctx, "system calls", []measurer{{"quintet", w.callsOnce}})
	if errors.Is(err, errNoPerf) {
		w.say("left out: system calls per frame: %v", err)
	} else if err != nil {
		return nil, err
	} else {
		c := here()
		c.Rounds, c.Note = w.Rounds, "counted by perf; frames are those of both directions, super-segments and acknowledgements"
		for _, f := range []tcpFigure{{"server", "server", "calls"}, {"each program", "programs", "calls"}} {
			rows = append(rows, Row{Name: "system calls per frame, one stream, " + f.suffix, Unit: f.unit, Value: results[0][f.figure], Conditions: c})
		}
	}
	idle, err := w.idle(ctx)
	return append(rows, idle...), err
}

var errNoPerf = errors.New("perf cannot count them")

func (w *wire) callsOnce(ctx context.Context) (f figures, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.Duration+sideGrace)
	defer cancel()
	err = w.during(ctx, 2, func(route *trafficRoute) (err error) {
		t := task{Duration: w.Duration + 2*steadyWarmUp, Work: "stream"}
		serving, err := route.start("traffic-to", t, 1)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, serving.release()) }()
		sending, err := route.start("traffic-from", t, 0)
		if err != nil {
			return err
		}
		time.Sleep(steadyWarmUp)
		before, err := route.frames(ctx)
		if err != nil {
			return err
		}
		calls := make([]float64, 2)
		counted := make(chan error, 2)
		for i, pids := range [][]int{{route.server}, {serving.command.Process.Pid, sending.command.Process.Pid}} {
			go func() {
				n, err := countCallsOf(ctx, filepath.Join(route.running.dir, fmt.Sprintf("calls-%d", i)), pids, w.Duration)
				calls[i] = n
				counted <- err
			}()
		}
		if err := errors.Join(<-counted, <-counted); err != nil {
			return err
		}
		after, err := route.frames(ctx)
		if err != nil {
			return err
		}
		f = figures{"server": calls[0] / (after - before), "programs": calls[1] / 2 / (after - before)}
		var result figures
		return sending.result(&result)
	})
	return f, err
}

// frames is the number of frames that the ports have sent.
func (r *trafficRoute) frames(ctx context.Context) (n float64, err error) {
	state, err := r.running.whole(ctx)
	if err != nil {
		return 0, err
	}
	for _, net := range state.Networks {
		for _, port := range net.Ports {
			n += float64(port.Sent)
		}
	}
	return n, nil
}

// countCallsOf counts the system calls of running processes for a while.
func countCallsOf(ctx context.Context, file string, pids []int, d time.Duration) (float64, error) {
	var list []string
	for _, pid := range pids {
		list = append(list, strconv.Itoa(pid))
	}
	out, err := exec.CommandContext(ctx, "perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-o", file,
		"-p", strings.Join(list, ","), "--", "sleep", strconv.FormatFloat(d.Seconds(), 'f', -1, 64)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %w: %s", errNoPerf, err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := parsePerf(string(text))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNoPerf, err)
	}
	return float64(n), nil
}

// idle: the processor time of a system whose two programs are connected and say
// nothing.
func (w *wire) idle(ctx context.Context) (rows []Row, err error) {
	err = w.during(ctx, 2, func(route *trafficRoute) (err error) {
		pids := route.pids
		for program := range 2 {
			p, err := route.start("traffic-to", task{}, program)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.release()) }()
			pids = append(pids, p.command.Process.Pid)
		}
		time.Sleep(idleSettle)
		window := max(idleWindow, w.Duration)
		w.say("idle: watching for %v", window)
		before, err := cpuOfAll(pids)
		if err != nil {
			return err
		}
		began := time.Now()
		time.Sleep(window)
		after, err := cpuOfAll(pids)
		c := here()
		c.Note = fmt.Sprintf("supervisor, server, standby and two programs with a stack each, over %v", window)
		rows = append(rows, Row{Name: "processor time of an idle network", Unit: "% of a core",
			Value: 100 * float64(after-before) / float64(time.Since(began)), Conditions: c})
		return err
	})
	return rows, err
}
