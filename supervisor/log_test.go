package supervisor

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLogIsBounded: one user's lines leave room for another's, are few in the long
// run, and those left out are counted.
func TestLogIsBounded(t *testing.T) {
	var out bytes.Buffer
	h := NewLog(&out, slog.LevelInfo).(*logHandler)
	now := time.Unix(0, 0)
	h.sources.now = func() time.Time { return now }
	log := slog.New(h)
	const flood = 100_000
	for i := range flood {
		log.Warn("application refused", "pid", i, "uid", 7, "reason", strings.Repeat("x", 10_000))
	}
	log.Warn("application refused", "pid", 1, "uid", 8, "reason", "y")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != logBurst+1 || !strings.Contains(lines[logBurst], "uid=8") {
		t.Errorf("%d lines, the last one: %s", len(lines), lines[len(lines)-1])
	}
	if out.Len() > (logBurst+1)*(logValueMax+200) {
		t.Errorf("%d bytes", out.Len())
	}
	out.Reset()
	now = now.Add(time.Hour)
	log.Warn("application refused", "pid", 1, "uid", 7, "reason", "y")
	if want := fmt.Sprintf("left_out=%d", flood-logBurst); !strings.Contains(out.String(), want) {
		t.Errorf("after an hour: %s, want %s", out.String(), want)
	}
	for uid := range 10 * logSourcesMax {
		log.Warn("application refused", "uid", uid)
	}
	if n := len(h.sources.known); n > logSourcesMax+1 {
		t.Errorf("%d sources are told apart", n)
	}
}

// TestLogIsEscaped: what an application says stays within its line.
func TestLogIsEscaped(t *testing.T) {
	var out bytes.Buffer
	slog.New(NewLog(&out, slog.LevelInfo)).Warn("refused", "name", "a\nlevel=ERROR msg=forged\x1b[31m\r")
	if text := out.String(); strings.Count(text, "\n") != 1 || strings.ContainsAny(text, "\x1b\r") {
		t.Errorf("%q", text)
	}
}

// TestLogFileIsReplaced: the file is replaced when it is full, and standard error
// follows. In a process of its own, for its standard error.
func TestLogFileIsReplaced(t *testing.T) {
	const variable = "QUINTET_TEST_LOG"
	if path := os.Getenv(variable); path != "" {
		l, err := OpenLogFile(path)
		if err != nil {
			t.Fatal(err)
		}
		l.max = 1000
		for i := range 200 {
			fmt.Fprintf(l, "line %d\n", i)
		}
		fmt.Fprintln(os.Stderr, "the last line")
		return
	}
	path := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestLogFileIsReplaced$")
	cmd.Env = append(os.Environ(), variable+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var all string
	for _, each := range []string{path + ".1", path} {
		content, err := os.ReadFile(each)
		if err != nil || len(content) == 0 || len(content) > 1100 {
			t.Errorf("%s has %d bytes, %v", each, len(content), err)
		}
		all += string(content)
	}
	if !strings.Contains(all, "line 198\nline 199\n") || !strings.HasSuffix(all, "the last line\n") {
		t.Errorf("the logs end with %q", all[max(0, len(all)-40):])
	}
}
