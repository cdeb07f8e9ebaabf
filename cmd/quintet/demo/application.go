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
	Report *report `json:"report,omitempty"`
}

type report struct {
	Bytes      uint64 `json:"bytes"` // written and read
	Requests   uint64 `json:"requests"`
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Mismatched uint64 `json:"mismatched"`
	Passes     int    `json:"passes"`
	Problem    string `json:"problem,omitempty"` // the first one
	Gaps       []Gap  `json:"gaps"`
	Files      []File `json:"files,omitempty"` // with their hashes
}

const progressPeriod = 200 * time.Millisecond

// application is what writers and the reader have in common: a volume whose
// operations are counted.
type application struct {
	plan   plan
	volume *app.Volume
	gaps   gaps

	bytes, lost, duplicated, mismatched atomic.Uint64
	passes                              atomic.Int64

	mu      sync.Mutex
	problem string
}

// Main is an application process, of the role "writer" or "reader".
func Main(ctx context.Context, role string, in io.Reader, out io.Writer) error {
	a := &application{}
	if err := json.NewDecoder(in).Decode(&a.plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	connection, err := app.Connect(ctx, app.WithName(fmt.Sprintf("demo-%s-%d", role, a.plan.Writer)))
	if err != nil {
		return err
	}
	defer connection.Close()
	if a.volume, err = connection.Volume(ctx, volumeName); err != nil {
		return err
	}
	done := make(chan struct{})
	told := make(chan struct{})
	lines := json.NewEncoder(out)
	go func() {
		defer close(told)
		tick := time.NewTicker(progressPeriod)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				_ = lines.Encode(line{Bytes: a.bytes.Load(), Pass: int(a.passes.Load())}) // the end notices
			}
		}
	}()
	var files []File
	if role == "writer" {
		files, err = a.write(ctx)
	} else {
		err = a.readBack(ctx)
	}
	close(done)
	<-told
	if err != nil {
		return err
	}
	return lines.Encode(line{Report: &report{
		Bytes: a.bytes.Load(), Requests: a.volume.Session().Counters().Requests,
		Lost: a.lost.Load(), Duplicated: a.duplicated.Load(), Mismatched: a.mismatched.Load(),
		Passes: int(a.passes.Load()), Problem: a.problem, Gaps: a.gaps.recorded, Files: files,
	}})
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
