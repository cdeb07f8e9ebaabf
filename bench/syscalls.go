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
)

// systemCalls: how often a client under load enters the kernel for a request,
// over the whole life of its process.
func (s *suite) systemCalls(ctx context.Context) (rows []Row, err error) {
	_, _, free, err := placements()
	if err != nil {
		return nil, err
	}
	count, err := newCounter(ctx, filepath.Join(s.dir, "calls"))
	if err != nil {
		s.say("left out: system calls per request: %v", err)
		return nil, nil
	}
	for _, callers := range []int{1, 8} {
		name := fmt.Sprintf("system calls per request, client, %d in flight, %s", inFlight, goroutines(callers))
		session := task{Callers: callers, Window: inFlight / callers, wrap: count.command}
		socket := task{Callers: callers, Window: 1, wrap: count.command}
		results, err := s.alternate(ctx, name, count.perRequest(s.session("quintet", free, session)),
			count.perRequest(s.socket("net.Conn, one after another", free, socket)))
		if err != nil {
			return nil, err
		}
		c := s.conditions(free)
		c.Note = "counted by " + count.command[0]
		rows = append(rows, compared(name, "calls", results[0].PerSecond, "Go net.Conn, request/reply", results[1].PerSecond, c))
	}
	return rows, nil
}

// counter counts the system calls of a program that is started under it.
type counter struct {
	command []string // goes before the program's own
	file    string   // holds the count afterwards
	parse   func(string) (int, error)
}

// newCounter returns a counter by perf, which hardly slows what it counts, or by
// strace where perf may not look.
func newCounter(ctx context.Context, file string) (*counter, error) {
	perf := &counter{[]string{"perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-o", file, "--"}, file, parsePerf}
	strace := &counter{[]string{"strace", "-c", "-f", "-o", file}, file, parseStrace}
	var problems []error
	for _, c := range []*counter{perf, strace} {
		err := exec.CommandContext(ctx, c.command[0], append(c.command[1:len(c.command):len(c.command)], "true")...).Run()
		if err == nil {
			_, err = c.read()
		}
		if err == nil {
			return c, nil
		}
		problems = append(problems, fmt.Errorf("%s: %w", c.command[0], err))
	}
	return nil, errors.Join(problems...)
}

// perRequest turns a contender into one whose PerSecond is system calls per
// request.
func (c *counter) perRequest(of contender) contender {
	return contender{of.name, func(ctx context.Context) (Result, error) {
		result, err := of.run(ctx)
		if err != nil {
			return Result{}, err
		}
		calls, err := c.read()
		if err != nil {
			return Result{}, err
		}
		return Result{PerSecond: float64(calls) / float64(result.Requests)}, nil
	}}
}

func (c *counter) read() (int, error) {
	text, err := os.ReadFile(c.file)
	if err != nil {
		return 0, err
	}
	calls, err := c.parse(string(text))
	if err != nil {
		return 0, fmt.Errorf("read the count of %s: %w", c.command[0], err)
	}
	return calls, nil
}

// parsePerf reads the first field of the line of the event.
func parsePerf(text string) (int, error) {
	for line := range strings.Lines(text) {
		if count, rest, ok := strings.Cut(line, ","); ok && strings.Contains(rest, "sys_enter") {
			return strconv.Atoi(count)
		}
	}
	return 0, errors.New("perf did not count")
}

// parseStrace reads the calls of the last line, whose columns are share,
// seconds, time per call, calls, errors and "total".
func parseStrace(text string) (int, error) {
	for line := range strings.Lines(text) {
		if columns := strings.Fields(line); len(columns) >= 5 && columns[len(columns)-1] == "total" {
			return strconv.Atoi(columns[3])
		}
	}
	return 0, errors.New("strace did not count")
}
