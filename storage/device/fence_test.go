package device

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/uring"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/storagetest"
)

// writerEnv makes this test binary a server that dies: it names the device, and the
// ring's options.
const writerEnv = "QUINTET_TEST_FENCE_WRITER"

func TestMain(m *testing.M) {
	for env, child := range map[string]func(string) error{writerEnv: doomedWriter, unpinnedEnv: unpinned} {
		if path, ok := os.LookupEnv(env); ok {
			runtime.LockOSThread()
			if err := child(path); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

const fenceBlock = 4096

// doomedWriter fences the device, submits one write of 'A' when told to, and
// waits for its death.
func doomedWriter(path string) error {
	var options Options
	parts := strings.Split(path, ":")
	path = parts[0]
	for _, part := range parts[1:] {
		switch part {
		case "unpinned":
			options.Unpinned = true
		case "defer":
			options.Mode = uring.ModeDefer
		case "interrupt":
			options.Mode = uring.ModeInterrupt
		}
	}
	fd, err := storagetest.Descriptor(path)
	if err != nil {
		return err
	}
	f, err := NewFile(fd, options)
	if err != nil {
		return err
	}
	if err := f.Fence(); err != nil {
		return err
	}
	mem, err := unix.MapAnonymous(fenceBlock)
	if err != nil {
		return err
	}
	copy(mem, bytes.Repeat([]byte{'A'}, fenceBlock))
	fmt.Println("fenced")
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return err
	}
	f.Submit(&storage.Operation{Op: storage.OpWrite, Buffer: f.Attach(mem), Mem: mem, Length: fenceBlock})
	f.Reap(nil)
	fmt.Println("submitted")
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}

// doomed is a running doomedWriter.
type doomed struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func startDoomed(t testing.TB, path string) *doomed {
	t.Helper()
	d := &doomed{t: t, cmd: exec.Command(os.Args[0])}
	d.cmd.Env = append(os.Environ(), writerEnv+"="+path)
	d.cmd.Stderr = os.Stderr
	var err error
	if d.stdin, err = d.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.lines = bufio.NewScanner(stdout)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.expect("fenced")
	return d
}

func (d *doomed) expect(line string) {
	d.t.Helper()
	if !d.lines.Scan() || d.lines.Text() != line {
		d.t.Fatalf("the writer said %q, want %q", d.lines.Text(), line)
	}
}

// Submit has it submit its write.
func (d *doomed) Submit() {
	d.t.Helper()
	if _, err := d.stdin.Write([]byte{1}); err != nil {
		d.t.Fatal(err)
	}
	d.expect("submitted")
}

// Kill ends it by SIGKILL, and returns when it has been reaped.
func (d *doomed) Kill() {
	d.t.Helper()
	if err := d.cmd.Process.Kill(); err != nil {
		d.t.Fatal(err)
	}
	d.cmd.Wait() // "signal: killed"
}

// firstByte reads the block the writer wrote to.
func firstByte(t *testing.T, f *File) byte {
	t.Helper()
	mem := buffer(t, fenceBlock)
	mustRun(t, f, storage.Operation{Op: storage.OpRead, Buffer: storage.BufferNone, Mem: mem, Length: fenceBlock})
	return mem[0]
}

func writeByte(t *testing.T, f *File, b byte) {
	t.Helper()
	mem := buffer(t, fenceBlock)
	copy(mem, bytes.Repeat([]byte{b}, fenceBlock))
	mustRun(t, f, storage.Operation{Op: storage.OpWrite, Buffer: storage.BufferNone, Mem: mem, Length: fenceBlock})
}

// TestWriteOfTheDeadLandsLate shows what the fence is for: a server is killed
// with a write in a slow device, and its successor goes on at once.
func TestWriteOfTheDeadLandsLate(t *testing.T) {
	loop := storagetest.LoopDevice(t, storagetest.Image(t, t.TempDir(), 1<<20))
	slow := newThrottle(t, loop)
	dead := startDoomed(t, loop)
	slow.Enter(dead.cmd.Process.Pid)
	dead.Submit()
	dead.Kill()

	successor := openFile(t, loop, Options{})
	writeByte(t, successor, 'B')
	if got := firstByte(t, successor); got != 'B' {
		t.Fatalf("after the successor's write the device holds %q", got)
	}
	slow.Lift()
	if err := successor.Fence(); err != nil { // too late, but it tells when the write has landed
		t.Fatal(err)
	}
	if got := firstByte(t, successor); got != 'A' {
		t.Errorf("the device holds %q: the dead server's write did not land late, so this host does not show what the fence is for", got)
	}
}

// TestFenceKeepsTheDeadOut is the same with the fence.
func TestFenceKeepsTheDeadOut(t *testing.T) {
	for name, options := range map[string]string{"cooperating": "", "interrupt": ":interrupt"} {
		t.Run(name, func(t *testing.T) {
			loop := storagetest.LoopDevice(t, storagetest.Image(t, t.TempDir(), 1<<20))
			slow := newThrottle(t, loop)
			dead := startDoomed(t, loop+options)
			slow.Enter(dead.cmd.Process.Pid)
			dead.Submit()
			dead.Kill()

			successor := openFile(t, loop, Options{})
			if free, err := unix.TryLockExclusive(successor.fd); free || err != nil {
				t.Fatalf("the fence is open (%v, %v) while a write of the dead server is in flight", free, err)
			}
			if got := firstByte(t, successor); got != 0 {
				t.Fatalf("the device holds %q before the slow write", got)
			}
			slow.Lift()
			if err := successor.Fence(); err != nil {
				t.Fatal(err)
			}
			if got := firstByte(t, successor); got != 'A' {
				t.Errorf("the fence opened, and the device holds %q: the write was still to come", got)
			}
			writeByte(t, successor, 'B')
			if got := firstByte(t, successor); got != 'B' {
				t.Errorf("the device holds %q", got)
			}
		})
	}
}

// BenchmarkFence measures from SIGKILL to the successor's lock, with a write
// just submitted to a loop device. With TMPDIR in memory it is the kernel alone
// that is measured.
func BenchmarkFence(b *testing.B) {
	for _, options := range []string{":idle", "", ":defer", ":interrupt"} {
		b.Run("options="+options, func(b *testing.B) {
			path := storagetest.LoopDevice(b, storagetest.Image(b, b.TempDir(), 1<<20))
			var total, worst time.Duration
			for b.Loop() {
				dead := startDoomed(b, path+options)
				if options != ":idle" {
					dead.Submit()
				}
				fd := openDescriptor(b, path)
				start := time.Now()
				if err := dead.cmd.Process.Kill(); err != nil {
					b.Fatal(err)
				}
				if err := unix.LockExclusive(fd); err != nil {
					b.Fatal(err)
				}
				took := time.Since(start)
				total, worst = total+took, max(worst, took)
				dead.cmd.Wait()
				unix.Close(fd)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(total.Microseconds())/float64(b.N), "us/kill")
			b.ReportMetric(float64(worst.Microseconds()), "us-max")
		})
	}
}
