package test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/supervisor"
)

// TestIdleSessionIsSmall: a session that has read one block has less than 300 KiB
// of its segments and regions in memory, summed over all processes, whatever it
// has granted. What is used is pinned in the standby too.
func TestIdleSessionIsSmall(t *testing.T) {
	s := Up(t, program, oneServer)
	server := s.Server("store")
	processes := []int{os.Getpid(), server.PID, server.StandbyPID}
	before := shared(t, processes...)
	a := s.Connect()
	idle := s.Volume(a, "data")
	if _, err := idle.ReadAt(make([]byte, 4<<10), 0); err != nil {
		t.Fatal(err)
	}
	if grew := shared(t, processes...) - before; grew <= 0 || grew >= 300<<10 {
		t.Errorf("a session with %d bytes of buffers has %d bytes in memory after one read of 4 KiB, want less than 300 KiB",
			idle.Buffers().Bytes(), grew)
	}

	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}

	// Without privileges a standby pins while half of 8 MiB is not exceeded.
	const bytes = 1 << 20
	used := s.Volume(a, "data", app.BufferBytes(bytes))
	before = shared(t, server.StandbyPID)
	buffer, err := used.Buffers().Get(context.Background(), bytes/4)
	if err != nil {
		t.Fatal(err)
	}
	defer buffer.Release()
	for i := range int64(4) {
		if _, err := used.ReadBuffer(context.Background(), buffer, 0, bytes/4, i*bytes/4); err != nil {
			t.Fatal(err)
		}
	}
	s.Until("the standby has pinned what is used", func(*supervisor.State) bool {
		return shared(t, server.StandbyPID)-before >= bytes
	})
}

// shared is the resident memory of processes in segments and regions, in bytes.
func shared(t *testing.T, pids ...int) (total int64) {
	t.Helper()
	for _, pid := range pids {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
		if err != nil {
			t.Fatal(err)
		}
		ours := false
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			switch {
			case !strings.HasSuffix(fields[0], ":"):
				ours = strings.Contains(lines.Text(), "/memfd:quintet-")
			case ours && fields[0] == "Rss:":
				kib, err := strconv.ParseInt(fields[1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				total += kib << 10
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return total
}
