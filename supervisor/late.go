package supervisor

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// lateBytesMax bounds what waits to be written, in bytes.
const lateBytesMax = 1 << 20

// LateWriter passes what is written on to a writer that may block: a pipe that nobody
// reads, a terminal that has been stopped, a full disk. Whoever writes never waits;
// what there is no room for is left out, and its lines are counted in a line of their
// own. All methods may be called from any goroutine.
type LateWriter struct {
	to io.Writer

	mu      sync.Mutex
	changed *sync.Cond
	waiting []byte
	writing bool // a goroutine does
	lost    int  // lines left out
}

// NewLateWriter returns a writer to w, which it calls from one goroutine at a time.
func NewLateWriter(w io.Writer) *LateWriter {
	l := &LateWriter{to: w}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// Write implements io.Writer. p is whole lines. There are no errors: nobody waits for
// what becomes of a line.
func (l *LateWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting)+len(p) > lateBytesMax {
		l.lost += bytes.Count(p, []byte("\n"))
		return len(p), nil
	}
	if l.lost > 0 {
		l.waiting = fmt.Appendf(l.waiting, "level=WARN msg=\"the log was not taken in time\" lines_left_out=%d\n", l.lost)
		l.lost = 0
	}
	l.waiting = append(l.waiting, p...)
	if !l.writing {
		l.writing = true
		go l.write()
	}
	return len(p), nil
}

func (l *LateWriter) write() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > 0 {
		p := l.waiting
		l.waiting = nil
		l.mu.Unlock()
		_, _ = l.to.Write(p)
		l.mu.Lock()
	}
	l.writing = false
	l.changed.Broadcast()
}

// Flush waits until everything has been written, for so long at most.
func (l *LateWriter) Flush(most time.Duration) {
	deadline := time.Now().Add(most)
	late := time.AfterFunc(most, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})
	defer late.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing && time.Now().Before(deadline) {
		l.changed.Wait()
	}
}
