package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/supervisor"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// Options say what to do.
type Options struct {
	Input    string        // tree to copy; empty: the Go installation's sources
	Duration time.Duration // copy again until it has passed
	Binary   string        // this program, which plays servers and applications
	Progress func(string)  // is told what happens
}

// Result is what `quintet demo --json` prints.
type Result struct {
	Bytes      uint64    `json:"bytes"`    // written and read by the applications
	Requests   uint64    `json:"requests"` // of all applications
	Kills      int       `json:"kills"`
	Replayed   uint64    `json:"replayed"`
	Lost       uint64    `json:"lost"`
	Duplicated uint64    `json:"duplicated"`
	Mismatched uint64    `json:"mismatched"`
	Gap        Quantiles `json:"gap_ms"`

	Input     string  `json:"input"`
	Files     int     `json:"files"`
	TreeBytes int64   `json:"tree_bytes"`
	Passes    int     `json:"passes"` // whole copies of the tree
	Seconds   float64 `json:"seconds"`
	Problem   string  `json:"problem,omitempty"`
}

// Passed tells whether nothing was lost, run twice or damaged although the server
// was killed.
func (r *Result) Passed() bool { return r.Kills > 0 && r.Lost+r.Duplicated+r.Mismatched == 0 }

// demonstration is one run.
type demonstration struct {
	Options
	dir    string
	result Result
	gaps   []Gap
	kills  []int64
}

// Run runs the demonstration. It leaves nothing behind, whatever its end.
func Run(ctx context.Context, o Options) (result *Result, err error) {
	began := time.Now()
	why := ""
	if o.Input == "" {
		if o.Input, why, err = inputDirectory(); err != nil {
			return nil, err
		}
		why = ", " + why
	}
	files, end, whole, err := walk(o.Input)
	if err != nil {
		return nil, err
	}
	d := &demonstration{Options: o}
	d.result.Input, d.result.Files = o.Input, len(files)
	for _, f := range files {
		d.result.TreeBytes += f.Size
	}
	o.Progress(fmt.Sprintf("input: %s%s: %d files, %.1f MB", o.Input, why, len(files), float64(d.result.TreeBytes)/1e6))
	if !whole {
		o.Progress(fmt.Sprintf("the tree is larger than that: the rest is left out (bounds: %d files, %d MB)", treeFilesMax, treeBytesMax>>20))
	}
	if d.dir, err = os.MkdirTemp("", "quintet-demo-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	if err := d.run(ctx, files, end); err != nil {
		return nil, err
	}
	d.result.Gap = gapsOfKills(d.kills, d.gaps)
	d.result.Kills = len(d.kills)
	if d.result.Kills == 0 && d.result.Problem == "" {
		d.result.Problem = "the copy had ended before the server was killed once; copy for longer with --duration"
	}
	d.result.Seconds = time.Since(began).Seconds()
	return &d.result, nil
}

func (d *demonstration) run(ctx context.Context, files []File, end int64) (err error) {
	// An index entry is at most a path of 4 KiB and 200 bytes; mostly far less.
	indexMax := int64(1 << 20)
	for _, f := range files {
		indexMax += int64(len(f.Path))*2 + 256
	}
	text := fmt.Sprintf(`version: 1
servers: {%s: {kind: storage}}
volumes: {%s: {server: %s, file: %q, size: %d, create: true}}
applications: {demo: {volumes: {%s: rw}}}
`, serverName, volumeName, serverName, filepath.Join(d.dir, "volume.img"), roundUp(end+indexMax), volumeName)
	t, err := topology.Parse("demo", []byte(text))
	if err != nil {
		return err
	}
	sup, err := supervisor.New(supervisor.Config{StateDir: d.dir, Binary: d.Binary, Topology: t})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := sup.Run(ctx); err != nil {
			cancel(err)
		}
	})
	defer func() {
		cancel(nil)
		running.Wait()
		err = errors.Join(err, sup.Close())
	}()
	if err := sup.WaitServing(ctx); err != nil {
		return err
	}
	d.Progress(fmt.Sprintf("system: supervisor pid %d, storage server with a warm standby, volume on %s", os.Getpid(), filepath.Join(d.dir, "volume.img")))
	if err := d.perform(ctx, sup, files, end); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	d.result.Replayed = sup.State().Servers[0].Replayed
	return nil
}

// perform copies under the storm, then reads back in quiet.
func (d *demonstration) perform(ctx context.Context, sup *supervisor.Supervisor, files []File, end int64) error {
	storm, cancel := context.WithCancel(ctx)
	var storming sync.WaitGroup
	var stormErr error
	storming.Go(func() { stormErr = d.storm(storm) })
	stop := func() {
		cancel()
		storming.Wait()
	}
	defer stop()

	var all []*process
	until := time.Now().Add(d.Duration)
	for w := range writers {
		p, err := d.start(ctx, "writer", plan{Writer: w, Tree: d.Input, Files: share(files, end, w), Until: until})
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	d.Progress(fmt.Sprintf("copying: %d writer processes, and SIGKILL to the server every %v", writers, killPeriod))
	written, err := d.await(ctx, sup, all)
	stop()
	if err == nil {
		err = stormErr
	}
	if err != nil {
		return err
	}
	d.result.Passes = 1 << 30
	for _, p := range all {
		d.result.Passes = min(d.result.Passes, max(p.report.Passes, 1))
	}
	if err := d.index(ctx, written, end); err != nil {
		return err
	}
	d.Progress("reading back: one more process compares every file's hash")
	reader, err := d.start(ctx, "reader", plan{Writer: writers, Index: end})
	if err != nil {
		return err
	}
	_, err = d.await(ctx, sup, []*process{reader})
	return err
}

// storm kills the storage server's active process every killPeriod.
func (d *demonstration) storm(ctx context.Context) error {
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(killPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		at := time.Now().UnixNano()
		killed, err := kill(ctx, c)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("kill the storage server: %w", err)
		}
		if killed {
			d.kills = append(d.kills, at)
		}
	}
}

// index writes the index of what the writers have written.
func (d *demonstration) index(ctx context.Context, files []File, end int64) error {
	connection, err := app.Connect(ctx, app.WithSocket(supervisor.SocketPath(d.dir)), app.WithName("demo-index"))
	if err != nil {
		return err
	}
	defer connection.Close()
	volume, err := connection.Volume(ctx, volumeName)
	if err != nil {
		return err
	}
	a := &application{plan: plan{Index: end}, volume: volume}
	return a.writeIndex(ctx, files)
}

// Table prints the result for people.
func (r *Result) Table(w io.Writer) error {
	verdict := "nothing was lost, nothing ran twice, every hash matches"
	if !r.Passed() {
		verdict = "FAILED: " + r.Problem
	}
	_, err := fmt.Fprintf(w, `
  files              %d, copied %s
  bytes              %.1f MB written and read by applications
  requests           %d
  kills              %d x SIGKILL
  requests replayed  %d
  lost               %d
  run twice          %d as seen by the caller
  hash mismatches    %d
  gap                %.2f ms p50, %.2f ms p99, %.2f ms max
  time               %.1f s

%s
`, r.Files, times(r.Passes), float64(r.Bytes)/1e6, r.Requests, r.Kills, r.Replayed, r.Lost, r.Duplicated, r.Mismatched,
		r.Gap.P50, r.Gap.P99, r.Gap.Max, r.Seconds, verdict)
	return err
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
