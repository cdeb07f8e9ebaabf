package device

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/uring"
	"github.com/quintet-os/quintet/storage"
)

const (
	benchFileBytes  = 1 << 30
	benchBlockBytes = 4096
)

// benchFile is a file with all blocks written, on the disk of the benchmark's
// temporary directory (TMPDIR).
func benchFile(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "bench")
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if _, err := io.CopyN(file, rand.NewChaCha8([32]byte{1}), benchFileBytes); err != nil {
		b.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		b.Fatal(err)
	}
	return path
}

// sleeper is how the benchmark waits for completions.
type sleeper struct {
	name string
	mode uring.Mode
	poll bool // look without sleeping; otherwise sleep on the eventfd
}

var sleepers = []sleeper{
	{"defer/poll", uring.ModeDefer, true},
	{"defer/eventfd", uring.ModeDefer, false},
	{"cooperate/poll", uring.ModeCooperate, true},
	{"cooperate/eventfd", uring.ModeCooperate, false},
	{"interrupt/poll", uring.ModeInterrupt, true},
	{"interrupt/eventfd", uring.ModeInterrupt, false},
}

// BenchmarkRandom is 4 KiB random direct I/O, beside fio on the same file.
func BenchmarkRandom(b *testing.B) {
	path := benchFile(b)
	for _, op := range []storage.Op{storage.OpRead, storage.OpWrite} {
		for _, depth := range []int{1, 32} {
			for _, s := range sleepers {
				b.Run(fmt.Sprintf("%v/QD%d/%s", op, depth, s.name), func(b *testing.B) { randomIO(b, path, op, depth, s) })
			}
			b.Run(fmt.Sprintf("%v/QD%d/fio", op, depth), func(b *testing.B) { fio(b, path, op, depth) })
		}
	}
}

func randomIO(b *testing.B, path string, op storage.Op, depth int, s sleeper) {
	d := openFile(b, path, Options{Depth: depth, Mode: s.mode})
	mem := buffer(b, depth*benchBlockBytes)
	attached := d.Attach(mem)
	epoll, err := unix.NewEpoll(4)
	if err != nil {
		b.Fatal(err)
	}
	defer epoll.Close()
	if err := epoll.Add(d.Wakeup(), 0); err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, uint64(depth)))
	submit := func(tag uint64) {
		at := tag * benchBlockBytes
		d.Submit(&storage.Operation{Tag: tag, Op: op, Buffer: attached, Mem: mem[at : at+benchBlockBytes],
			Offset: random.Int64N(benchFileBytes/benchBlockBytes) * benchBlockBytes, Length: benchBlockBytes})
	}
	done := make([]storage.Completion, depth)
	b.ResetTimer()
	for i := range min(depth, b.N) {
		submit(uint64(i))
	}
	for started, ended := min(depth, b.N), 0; ended < b.N; {
		n := d.Reap(done)
		if n == 0 && !s.poll {
			if err := epoll.Wait(-1, func(int32) {}); err != nil {
				b.Fatal(err)
			}
		}
		for _, c := range done[:n] {
			if c.Kind != storage.KindOK {
				b.Fatalf("%+v", c)
			}
			if started < b.N {
				submit(c.Tag)
				started++
			}
		}
		ended += n
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "IOPS")
}

// fio does the same operations by fio's io_uring engine with its best settings.
func fio(b *testing.B, path string, op storage.Op, depth int) {
	binary, err := exec.LookPath("fio")
	if err != nil {
		testenv.Skip(b, "fio is not installed")
	}
	rw := map[storage.Op]string{storage.OpRead: "randread", storage.OpWrite: "randwrite"}[op]
	out, err := exec.Command(binary, "--name=bench", "--filename="+path, "--ioengine=io_uring", "--direct=1", "--fixedbufs=1",
		"--rw="+rw, "--bs=4k", fmt.Sprintf("--iodepth=%d", depth), "--norandommap", "--time_based", "--runtime=2", "--output-format=json").Output()
	if err != nil {
		b.Fatal(err)
	}
	var report struct {
		Jobs []struct{ Read, Write struct{ IOPS float64 } }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(report.Jobs[0].Read.IOPS+report.Jobs[0].Write.IOPS, "IOPS")
	b.ReportMetric(0, "ns/op")
}
