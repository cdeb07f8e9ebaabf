package supervisor

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// TestALogThatNobodyReads holds up nobody: neither those who log nor, while they hold
// the supervisor's lock, the system. Later it tells how much was left out.
func TestALogThatNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	late := NewLateWriter(w)
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(late, nil)))
	defer slog.SetDefault(old)
	s := start(t)
	line := strings.Repeat("x", 1<<10)
	for range 2 * lateBytesMax / len(line) { // more than the pipe and the writer hold
		s.mu.Lock()
		slog.Info(line)
		s.mu.Unlock()
	}
	killActive(t, s)
	var read bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(&read, r)
		ended <- err
	}()
	late.Flush(patience)
	slog.Info("last")
	late.Flush(patience)
	w.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	text := read.String()
	if !strings.Contains(text, "lines_left_out") || !strings.HasSuffix(text, "msg=last\n") {
		t.Errorf("%d bytes of log, which end with %q", len(text), text[max(len(text)-300, 0):])
	}
	full := NewLateWriter(waitsForEver{})
	_, _ = full.Write([]byte("x\n"))
	full.Flush(time.Millisecond) // returns
}

type waitsForEver struct{}

func (waitsForEver) Write([]byte) (int, error) { select {} }
