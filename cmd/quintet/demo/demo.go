package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/ipc/broker"
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
	Bytes      uint64 `json:"bytes"`    // written and read by the applications
	Requests   uint64 `json:"requests"` // of all applications
	Kills      int    `json:"kills"`
	Replayed   uint64 `json:"replayed"`
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Mismatched uint64 `json:"mismatched"`
	// Gap is of the kills while a warm standby was there, ColdGap of the others, of which
	// there were Cold.
	Gap     Quantiles `json:"gap_ms"`
	Cold    int       `json:"cold_kills"`
	ColdGap Quantiles `json:"cold_gap_ms"`
	// Connections were opened over the network, and Dropped of them broke, while its
	// server was killed NetworkKills times.
	Connections    uint64    `json:"connections"`
	Dropped        uint64    `json:"connections_dropped"`
	NetworkKills   int       `json:"network_kills"`
	NetworkGap     Quantiles `json:"network_gap_ms"`
	NetworkCold    int       `json:"network_cold_kills"`
	NetworkColdGap Quantiles `json:"network_cold_gap_ms"`

	Input     string  `json:"input"`
	Files     int     `json:"files"`
	TreeBytes int64   `json:"tree_bytes"`
	Passes    int     `json:"passes"`    // whole copies of the tree
	Exchanges int     `json:"exchanges"` // the same, over the network
	Seconds   float64 `json:"seconds"`
	Problem   string  `json:"problem,omitempty"`
}

// Passed tells whether nothing was lost, run twice, damaged or dropped although both
// servers were killed.
func (r *Result) Passed() bool {
	return r.Kills > 0 && r.NetworkKills > 0 && r.Connections > 0 && r.Lost+r.Duplicated+r.Mismatched+r.Dropped == 0
}

// demonstration is one run.
type demonstration struct {
	Options
	dir    string
	result Result
	gaps   []Gap
	kills  map[string][]killing // by server
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
	d := &demonstration{Options: o, kills: make(map[string][]killing)}
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
	store, net := d.kills[serverName], d.kills[switchName]
	d.result.Kills, d.result.NetworkKills = len(store), len(net)
	d.result.Gap, d.result.ColdGap, d.result.Cold = gapsOfKills(store, d.gaps)
	d.result.NetworkGap, d.result.NetworkColdGap, d.result.NetworkCold = gapsOfKills(net, d.gaps)
	if (d.result.Kills == 0 || d.result.NetworkKills == 0) && d.result.Problem == "" {
		d.result.Problem = "all was done before each server had been killed once; go on for longer with --duration"
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
servers: {%s: {kind: storage}, %s: {kind: network}}
volumes: {%s: {server: %s, file: %q, size: %d, create: true}}
networks: {%s: {server: %s}}
applications:
  demo: {volumes: {%s: rw}}
  %s: {volumes: {%s: ro}, networks: {%s: {}}}
  fetcher: {networks: {%s: {}}}
`, serverName, switchName, volumeName, serverName, filepath.Join(d.dir, "volume.img"), roundUp(end+indexMax), networkName, switchName,
		volumeName, webDomain, volumeName, networkName, networkName)
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
	d.Progress(fmt.Sprintf("system: supervisor pid %d, storage and network server, each with a warm standby, volume on %s", os.Getpid(), filepath.Join(d.dir, "volume.img")))
	if err := d.perform(ctx, sup, files, end); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	d.result.Replayed = sup.State().Servers[0].Replayed
	return nil
}

// perform copies under the storm, exchanges under the storm, then reads back in quiet.
// The first two have half of the time each.
func (d *demonstration) perform(ctx context.Context, sup *supervisor.Supervisor, files []File, end int64) error {
	d.Progress(fmt.Sprintf("copying: %d writer processes, and SIGKILL to the storage server every %v", writers, killPeriod))
	written, err := d.under(ctx, sup, []string{serverName}, func() ([]File, error) { return d.copy(ctx, sup, files, end) })
	if err != nil {
		return err
	}
	if err := d.index(ctx, written, end); err != nil {
		return err
	}
	d.Progress(fmt.Sprintf("exchanging: a web server sends every file over TCP and gets it back, and SIGKILL to one of both servers every %v", killPeriod))
	if _, err := d.under(ctx, sup, []string{switchName, serverName}, func() ([]File, error) { return d.exchange(ctx, sup, written, end) }); err != nil {
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

// under does something while servers are killed.
func (d *demonstration) under(ctx context.Context, sup *supervisor.Supervisor, servers []string, do func() ([]File, error)) ([]File, error) {
	storm, cancel := context.WithCancel(ctx)
	var storming sync.WaitGroup
	var stormErr error
	storming.Go(func() { stormErr = d.storm(storm, sup, servers) })
	files, err := do()
	cancel()
	storming.Wait()
	if err == nil {
		err = stormErr
	}
	return files, err
}

// copy has the writers copy the tree.
func (d *demonstration) copy(ctx context.Context, sup *supervisor.Supervisor, files []File, end int64) ([]File, error) {
	var all []*process
	until := time.Now().Add(d.Duration / 2)
	for w := range writers {
		p, err := d.start(ctx, "writer", plan{Writer: w, Tree: d.Input, Files: share(files, end, w), Until: until})
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	written, err := d.await(ctx, sup, all)
	if err != nil {
		return nil, err
	}
	d.result.Passes = 1 << 30
	for _, p := range all {
		d.result.Passes = min(d.result.Passes, max(p.report.Passes, 1))
	}
	return written, nil
}

// exchange has a web server and its client exchange the tree.
func (d *demonstration) exchange(ctx context.Context, sup *supervisor.Supervisor, files []File, end int64) ([]File, error) {
	web, err := d.start(ctx, "web", plan{Index: end})
	if err != nil {
		return nil, err
	}
	select {
	case <-web.ready:
	case err := <-web.ended:
		return nil, err
	}
	client, err := d.start(ctx, "fetcher", plan{Files: files, Until: time.Now().Add(d.Duration / 2)})
	if err == nil {
		_, err = d.await(ctx, sup, []*process{client})
	}
	_ = web.in.Close()
	_, webErr := d.await(ctx, sup, []*process{web})
	if err == nil {
		d.result.Exchanges = client.report.Passes
		err = webErr
	}
	return nil, err
}

// storm kills the active process of one of the servers after the other: when a warm
// standby is there, and each coldTurns-th time of each whether or not there is any.
func (d *demonstration) storm(ctx context.Context, sup *supervisor.Supervisor, servers []string) error {
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(killPeriod)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		server, cold := victim(servers, turn)
		if !cold && !awaitWarm(ctx, sup, server) {
			return nil
		}
		k := killing{at: time.Now().UnixNano(), warm: warm(sup, server)}
		killed, err := kill(ctx, c, server)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("kill server %s: %w", server, err)
		}
		if killed {
			d.kills[server] = append(d.kills[server], k)
		}
	}
}

// victim is the server to be killed at a turn, and whether at once.
func victim(servers []string, turn int) (server string, cold bool) {
	n := len(servers)
	return servers[turn%n], turn/n%coldTurns == coldTurns-1
}

// awaitWarm waits until a server has a warm standby, and returns false when ctx ends.
func awaitWarm(ctx context.Context, sup *supervisor.Supervisor, server string) bool {
	tick := time.NewTicker(warmPeriod)
	defer tick.Stop()
	for !warm(sup, server) {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

func warm(sup *supervisor.Supervisor, server string) bool {
	return slices.ContainsFunc(sup.State().Servers, func(s supervisor.ServerState) bool {
		return s.Name == server && s.Phase == supervisor.PhaseServing && s.Warm
	})
}

// index writes the index of what the writers have written.
func (d *demonstration) index(ctx context.Context, files []File, end int64) error {
	connection, err := app.Connect(ctx, app.WithSocket(broker.SocketPath(d.dir)), app.WithName("demo-index"))
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
	verdict := "nothing was lost, nothing ran twice, no connection dropped, every hash matches"
	if !r.Passed() {
		verdict = "FAILED: " + r.Problem
	}
	_, err := fmt.Fprintf(w, `
  files              %d, copied %s, exchanged %s
  bytes              %.1f MB written and read by applications
  requests           %d
  kills              %d x SIGKILL to the storage server, %d to the network's
  requests replayed  %d
  lost               %d
  run twice          %d as seen by the caller
  hash mismatches    %d
  connections        %d, %d dropped
  gap, storage       %s
  gap, network       %s
  time               %.1f s

%s
`, r.Files, times(r.Passes), times(r.Exchanges), float64(r.Bytes)/1e6, r.Requests, r.Kills, r.NetworkKills, r.Replayed, r.Lost, r.Duplicated,
		r.Mismatched, r.Connections, r.Dropped, both(r.Gap, r.ColdGap, r.Cold), both(r.NetworkGap, r.NetworkColdGap, r.NetworkCold), r.Seconds, verdict)
	return err
}

// both says how long the gaps were, with and without a warm standby.
func both(warm, cold Quantiles, colds int) string {
	text := fmt.Sprintf("%.2f ms p50, %.2f ms p99, %.2f ms max", warm.P50, warm.P99, warm.Max)
	if colds > 0 {
		text += fmt.Sprintf("; %s with no standby ready: %.0f ms p50, %.0f ms max", times(colds), cold.P50, cold.Max)
	}
	return text
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
