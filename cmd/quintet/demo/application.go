package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/storage"
)

// plan is what an application process is told on its standard input.
type plan struct {
	Writer int       `json:"writer"`
	Tree   string    `json:"tree"`
	Files  []File    `json:"files"`
	Until  time.Time `json:"until"` // begin no pass after this
	Index  int64     `json:"index"` // offset of the index, for the reader
}

// line is what an application writes to its standard output, one JSON object a
// line: its progress, and a report in the end.
type line struct {
	Bytes  uint64  `json:"bytes,omitempty"`
	Pass   int     `json:"pass,omitempty"`
	Ready  bool    `json:"ready,omitempty"` // of the web server: it listens
	Report *report `json:"report,omitempty"`
}

type report struct {
	Bytes      uint64 `json:"bytes"` // written and read
	Requests   uint64 `json:"requests"`
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Mismatched uint64 `json:"mismatched"`
	Passes     int    `json:"passes"`
	// Connections are those that were opened, Dropped those that broke.
	Connections uint64 `json:"connections,omitempty"`
	Dropped     uint64 `json:"dropped,omitempty"`
	Problem     string `json:"problem,omitempty"` // the first one
	Gaps        []Gap  `json:"gaps"`
	Files       []File `json:"files,omitempty"` // with their hashes
}

const progressPeriod = 200 * time.Millisecond

// application is what writers and the reader have in common: a volume whose
// operations are counted.
type application struct {
	plan    plan
	volume  *app.Volume  // of writers, the reader and the web server
	network *app.Network // of the web server and its client
	fetcher *fetcher     // of the client
	gaps    gaps
	told    chan struct{} // closed at the end of the standard input

	bytes, requests, lost, duplicated, mismatched atomic.Uint64
	passes                                        atomic.Int64

	lines sync.Mutex // guards out
	out   *json.Encoder

	mu      sync.Mutex
	problem string
}

// Main is an application process, of the role "writer", "reader", "web" or "fetcher".
func Main(ctx context.Context, role string, in io.Reader, out io.Writer) error {
	a := &application{told: make(chan struct{}), out: json.NewEncoder(out)}
	input := json.NewDecoder(in)
	if err := input.Decode(&a.plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	go func() {
		defer close(a.told)
		_ = input.Decode(&struct{}{}) // the end is all that can come
	}()
	name := fmt.Sprintf("demo-%s-%d", role, a.plan.Writer)
	if role == "web" || role == "fetcher" {
		name = role // by which the other finds it
	}
	connection, err := app.Connect(ctx, app.WithName(name))
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := a.open(ctx, role, connection); err != nil {
		return err
	}
	stop := a.progress()
	files, err := a.perform(ctx, role)
	stop()
	if err != nil {
		return err
	}
	r := &report{
		Bytes: a.bytes.Load(), Requests: a.requests.Load(),
		Lost: a.lost.Load(), Duplicated: a.duplicated.Load(), Mismatched: a.mismatched.Load(),
		Passes: int(a.passes.Load()), Problem: a.problem, Gaps: a.gaps.recorded, Files: files,
	}
	if a.volume != nil {
		r.Requests += a.volume.Session().Counters().Requests
	}
	if a.fetcher != nil {
		r.Connections, r.Dropped = a.fetcher.connections.Load(), a.fetcher.dropped.Load()
	}
	return a.say(line{Report: r})
}

// open opens what the role needs.
func (a *application) open(ctx context.Context, role string, connection *app.App) (err error) {
	if role != "fetcher" {
		if a.volume, err = connection.Volume(ctx, volumeName); err != nil {
			return err
		}
	}
	if role == "web" || role == "fetcher" {
		a.network, err = connection.Network(ctx, networkName)
	}
	return err
}

func (a *application) perform(ctx context.Context, role string) ([]File, error) {
	switch role {
	case "writer":
		return a.write(ctx)
	case "reader":
		return nil, a.readBack(ctx)
	case "web":
		return nil, a.serve(ctx)
	}
	return nil, a.fetch(ctx)
}

// progress tells how far the application is, until stop is called.
func (a *application) progress() (stop func()) {
	done, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		tick := time.NewTicker(progressPeriod)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				_ = a.say(line{Bytes: a.bytes.Load(), Pass: int(a.passes.Load())}) // the end notices
			}
		}
	}()
	return func() { close(done); <-told }
}

// say writes a line to the demonstration.
func (a *application) say(l line) error {
	a.lines.Lock()
	defer a.lines.Unlock()
	return a.out.Encode(l)
}

// operate runs one operation of the volume and counts it. A failure is a loss,
// unless the whole demonstration is being ended.
func (a *application) operate(ctx context.Context, what string, bytes int, f func(context.Context) error) bool {
	answer, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	a.gaps.begin()
	err := f(answer)
	a.gaps.end()
	if err != nil {
		if ctx.Err() == nil {
			a.lost.Add(1)
			a.note("%s: %v", what, err)
		}
		return false
	}
	a.bytes.Add(uint64(bytes))
	return true
}

func (a *application) writeAt(ctx context.Context, p []byte, off int64) bool {
	return a.operate(ctx, "write", len(p), func(ctx context.Context) error {
		_, err := a.volume.Write(ctx, p, off, 0)
		return err
	})
}

func (a *application) readAt(ctx context.Context, p []byte, off int64) bool {
	return a.operate(ctx, "read", len(p), func(ctx context.Context) error {
		_, err := a.volume.Read(ctx, p, off)
		return err
	})
}

func (a *application) zero(ctx context.Context, off, length int64) bool {
	return a.operate(ctx, "write zeroes", 0, func(ctx context.Context) error {
		return a.volume.WriteZeroesContext(ctx, off, length, storage.Flags(0))
	})
}

func (a *application) flush(ctx context.Context) bool {
	return a.operate(ctx, "flush", 0, a.volume.FlushContext)
}

// note keeps the first problem, for the report.
func (a *application) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.problem == "" {
		a.problem = fmt.Sprintf("pid %d: ", os.Getpid()) + fmt.Sprintf(format, args...)
	}
}
