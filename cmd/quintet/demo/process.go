package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/supervisor"
)

// process is an application process, seen from the demonstration.
type process struct {
	name     string
	cmd      *exec.Cmd
	progress atomic.Uint64 // bytes
	pass     atomic.Int64
	report   *report
	said     strings.Builder // on standard error
	ready    chan struct{}   // closed when a web server listens
	in       io.WriteCloser  // its end tells a web server to stop
	ended    chan error
}

// start starts this program again as an application.
func (d *demonstration) start(ctx context.Context, role string, p plan) (*process, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	proc := &process{name: fmt.Sprintf("%s %d", role, p.Writer), ready: make(chan struct{}), ended: make(chan error, 1)}
	proc.cmd = exec.CommandContext(ctx, d.Binary, "internal", "demo-"+role)
	proc.cmd.Env = append(os.Environ(), broker.SocketVariable+"="+broker.SocketPath(d.dir))
	if proc.in, err = proc.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	proc.cmd.Stderr = &proc.said
	// Ctrl-C on a terminal is for the demonstration, which then ends them.
	proc.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := proc.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := proc.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { proc.ended <- proc.follow(out) }()
	_, err = proc.in.Write(text) // it fails if the process has ended, which await tells more of
	if role != "web" {
		_ = proc.in.Close()
	}
	return proc, err
}

// follow reads what the process says until its end.
func (p *process) follow(out io.Reader) error {
	lines := json.NewDecoder(out)
	for {
		var l line
		if err := lines.Decode(&l); err != nil {
			break // its end, or its death, which Wait tells more of
		}
		if l.Ready {
			close(p.ready)
			continue
		}
		if l.Report != nil {
			p.report = l.Report
			continue
		}
		p.progress.Store(l.Bytes)
		p.pass.Store(int64(l.Pass))
	}
	err := p.cmd.Wait()
	if err == nil && p.report == nil {
		err = errors.New("it ended without a report")
	}
	if err != nil {
		return fmt.Errorf("application %s: %w: %s", p.name, err, strings.TrimSpace(p.said.String()))
	}
	return nil
}

const showPeriod = time.Second

// await waits for applications, shows their progress and adds up their reports.
func (d *demonstration) await(ctx context.Context, sup *supervisor.Supervisor, all []*process) ([]File, error) {
	tick := time.NewTicker(showPeriod)
	defer tick.Stop()
	var errs []error
	var files []File
	for i := 0; i < len(all); {
		select {
		case err := <-all[i].ended:
			errs = append(errs, err)
			if r := all[i].report; r != nil {
				d.add(r)
				files = append(files, r.Files...)
			}
			i++
		case <-tick.C:
			d.show(sup, all)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files, errors.Join(errs...)
}

func (d *demonstration) add(r *report) {
	d.result.Bytes += r.Bytes
	d.result.Requests += r.Requests
	d.result.Lost += r.Lost
	d.result.Duplicated += r.Duplicated
	d.result.Mismatched += r.Mismatched
	if d.result.Problem == "" {
		d.result.Problem = r.Problem
	}
	d.result.Connections += r.Connections
	d.result.Dropped += r.Dropped
	d.gaps = append(d.gaps, r.Gaps...)
}

func (d *demonstration) show(sup *supervisor.Supervisor, all []*process) {
	var bytes uint64
	pass := int64(1 << 30)
	for _, p := range all {
		bytes += p.progress.Load()
		pass = min(pass, p.pass.Load())
	}
	state := sup.State()
	store, net := &state.Servers[0], &state.Servers[1]
	d.Progress(fmt.Sprintf("%8.1f MB moved in pass %d, %d deaths of the storage server and %d of the network's, %d requests replayed",
		float64(bytes)/1e6, pass+1, store.Deaths, net.Deaths, store.Replayed))
}

// connect returns a connection for control.
func (d *demonstration) connect(ctx context.Context) (*broker.Client, error) {
	return broker.NewClient(ctx, broker.SocketPath(d.dir), broker.Hello{Name: "demo-storm"}, nil)
}

// kill kills the active process of a server; false if there is none at the moment.
func kill(ctx context.Context, c *broker.Client, server string) (bool, error) {
	m, err := c.Ask(ctx, &broker.Control{Verb: supervisor.VerbKill, Target: server})
	m.CloseFDs()
	if errors.Is(err, &broker.Refused{Code: broker.CodeDown}) {
		return false, nil
	}
	return err == nil, err
}
