package supervisor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
)

const (
	// logValueMax bounds one value of a line, in bytes: applications choose some.
	logValueMax = 512
	// logBurst lines of one source are written at once, logPerSecond in the long run.
	logBurst     = 60
	logPerSecond = 2
	// logSourcesMax bounds the sources that are told apart; the others are one.
	logSourcesMax = 1024
	// logFileMax bounds the log's file, in bytes; the one before it is kept too.
	logFileMax = 8 << 20
)

// NewLog returns a handler that writes lines of text, bounded whoever has them
// written: values are cut, and what one user, server or uplink causes too often is
// counted instead, and told with the next line of that source.
func NewLog(w io.Writer, level slog.Level) slog.Handler {
	return &logHandler{
		Handler: slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: cutValue}),
		sources: &logSources{now: time.Now, known: make(map[string]*logSource)},
	}
}

// cutValue shortens what is too long. Control characters are escaped by the text
// handler.
func cutValue(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString, slog.KindAny:
		if text := v.String(); len(text) > logValueMax {
			a.Value = slog.StringValue(fmt.Sprintf("%s... (%d bytes)", text[:logValueMax], len(text)))
		}
	}
	return a
}

type logHandler struct {
	slog.Handler
	sources *logSources
}

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	write, left := h.sources.admit(sourceOf(&r))
	if !write {
		return nil
	}
	if left > 0 {
		r = r.Clone()
		r.Add("left_out", left)
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs and WithGroup implement slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{Handler: h.Handler.WithAttrs(attrs), sources: h.sources}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{Handler: h.Handler.WithGroup(name), sources: h.sources}
}

// sourceOf names who has a line written: what it says and whom it is about, but
// nothing that an application can make up.
func sourceOf(r *slog.Record) string {
	source := r.Message
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "server", "uplink", "uid":
			source += " " + a.Key + "=" + a.Value.String()
		}
		return true
	})
	return source
}

// logSources are the allowances of those who have lines written.
type logSources struct {
	now   func() time.Time
	mu    sync.Mutex
	known map[string]*logSource
}

type logSource struct {
	lines float64 // that may be written
	at    time.Time
	left  int // lines left out since one was written
}

// admit tells whether a line may be written, and how many of its source were left out
// since the last one.
func (s *logSources) admit(source string) (write bool, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.known[source] == nil {
		if len(s.known) >= logSourcesMax {
			s.forget(now)
		}
		if len(s.known) >= logSourcesMax {
			source = ""
		}
	}
	each := s.known[source]
	if each == nil {
		each = &logSource{lines: logBurst, at: now}
		s.known[source] = each
	}
	each.lines = min(logBurst, each.lines+now.Sub(each.at).Seconds()*logPerSecond)
	each.at = now
	if each.lines < 1 {
		each.left++
		return false, 0
	}
	each.lines--
	left, each.left = each.left, 0
	return true, left
}

// forget drops the sources that have their whole allowance again.
func (s *logSources) forget(now time.Time) {
	for name, each := range s.known {
		if each.left == 0 && each.lines+now.Sub(each.at).Seconds()*logPerSecond >= logBurst {
			delete(s.known, name)
		}
	}
}

// LogFile is the log of a supervisor in the background: a file of bounded size, and
// the one before it, with ".1" behind its name. It is standard error, so that what the
// runtime says when it dies is in it too. Safe for concurrent use.
type LogFile struct {
	mu   sync.Mutex
	path string
	file *os.File
	size int64
	max  int64
}

// OpenLogFile opens or makes the file, in a directory that MakeStateDir has accepted.
func OpenLogFile(path string) (*LogFile, error) {
	l := &LogFile{path: path, max: logFileMax}
	return l, l.open()
}

func (l *LogFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		err = unix.BecomeStderr(int(f.Fd()))
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("open the log: %w", err)
	}
	if l.file != nil {
		_ = l.file.Close()
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write implements io.Writer. A full file is replaced first.
func (l *LogFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(p)) > l.max {
		if err := os.Rename(l.path, l.path+".1"); err == nil {
			_ = l.open() // or the old one grows, which is better than silence
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}
