package bench

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/bench/peer"
	"github.com/quintet-os/quintet/internal/testenv"
)

// TestMain lets the benchmarks start this test binary as their sides.
func TestMain(m *testing.M) {
	if RunSide() {
		return
	}
	os.Exit(m.Run())
}

// All parts run to the end for a moment, and give rows that make sense. What the
// figures are is not tested.
func TestAllPartsMeasure(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var progress strings.Builder
	rows, err := IPC(ctx, Options{Rounds: 1, Duration: 20 * time.Millisecond, Progress: &progress})
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	if len(rows) == 0 {
		t.Fatal("no rows")
	}
	for _, row := range rows {
		if row.Value <= 0 || row.Unit == "" || row.Name == "" {
			t.Errorf("row %+v measured nothing", row)
		}
		if row.Peer != "" && (row.PeerValue <= 0 || row.Ratio != row.Value/row.PeerValue) {
			t.Errorf("row %+v: its ratio is not that of its values", row)
		}
		if row.Conditions.CPU == "" || row.Conditions.Cores == 0 || row.Conditions.Kernel == "unknown" {
			t.Errorf("row %q does not say where it was measured: %+v", row.Name, row.Conditions)
		}
	}
	var text strings.Builder
	if err := WriteJSON(&text, rows); err != nil {
		t.Fatal(err)
	}
	var back []Row
	if err := json.Unmarshal([]byte(text.String()), &back); err != nil || len(back) != len(rows) {
		t.Errorf("%d of %d rows came back from JSON: %v", len(back), len(rows), err)
	}
}

// The ext4 benchmarks run to the end on small volumes, and leave nothing mounted.
func TestExt4PartsMeasure(t *testing.T) {
	testenv.RequireRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	var progress strings.Builder
	v := &volumes{Options: Options{Rounds: 1, Duration: time.Millisecond, Dir: dir, Progress: &progress}.withDefaults(), entries: []int{1, 100}, sizes: []int64{64 << 20}}
	rows, err := v.all(ctx)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	if strings.Contains(progress.String(), "left out") {
		testenv.Skip(t, progress.String())
	}
	for _, row := range rows {
		if !strings.Contains(row.Name, "memory") && (row.Value <= 0 || row.PeerValue <= 0) {
			t.Errorf("row %+v measured nothing", row)
		}
	}
	if len(rows) < 20 {
		t.Errorf("only %d rows", len(rows))
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("something is still mounted, %v", err)
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, loop := range loops {
		if text, err := os.ReadFile(loop); err == nil && strings.Contains(string(text), dir) {
			t.Errorf("%s is still on %s", loop, text)
		}
	}
}

func TestUnknownPartNamesTheOthers(t *testing.T) {
	_, err := IPC(t.Context(), Options{Only: []string{"spining"}})
	if err == nil || !strings.Contains(err.Error(), `"spining"; there are spinning, sleeping`) {
		t.Errorf("got %v", err)
	}
}

func TestSideThatDiesIsReported(t *testing.T) {
	side, err := startSide(t.Context(), "no-such-side", task{}, anyCPU)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := side.wait(); err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("got %v, want what the side wrote", err)
	}
}

func TestMissingCompilerIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := peer.Build(t.Context(), t.TempDir()); !errors.Is(err, peer.ErrNoCompiler) {
		t.Errorf("got %v", err)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

func TestQuantity(t *testing.T) {
	for value, want := range map[float64]string{0.0599: "0.0599 x", 1.5: "1.5 x", 12.34: "12.3 x", 351.4: "351 x", 7258667.6: "7 258 668 x"} {
		if got := quantity(value, "x"); got != want {
			t.Errorf("%v is written %q, want %q", value, got, want)
		}
	}
}

func TestSystemCallCountsAreRead(t *testing.T) {
	const perf = "# started on Mon\n\n29,,raw_syscalls:sys_enter,678880,100.00,,\n"
	if n, err := parsePerf(perf); n != 29 || err != nil {
		t.Errorf("perf: %d, %v", n, err)
	}
	if _, err := parsePerf("<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n"); err == nil {
		t.Error("perf: a count that was not made is taken for one")
	}
	const strace = "% time     seconds  usecs/call     calls    errors syscall\n  0.00    0.000000           0         1           rseq\n100.00    0.000000           0        29         1 total\n"
	if n, err := parseStrace(strace); n != 29 || err != nil {
		t.Errorf("strace: %d, %v", n, err)
	}
}

func TestFioReportIsRead(t *testing.T) {
	const report = `{"jobs":[{"error":0,"read":{"iops":0},"write":{"iops":5,"total_ios":7,"lat_ns":{"percentile":{"50.000000":2}}}}]}`
	if got, err := parseFio([]byte(report), true); err != nil || got.PerSecond != 5 || got.Requests != 7 || got.P50 != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseFio([]byte(`{"jobs":[{"error":5}]}`), true); err == nil {
		t.Error("a failed job is taken for a result")
	}
}
