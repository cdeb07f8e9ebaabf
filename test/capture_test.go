package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/testenv"
)

// TestCapture: tshark reads what `quintet capture` writes, also what a successor of the
// server has written.
func TestCapture(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		testenv.Skip(t, "tshark is not installed")
	}
	s := Up(t, program, twoHosts)
	alice, bob := s.Network("alice", "lan"), s.Network("bob", "lan")
	l, err := bob.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	serveHashes(t, l)
	file := filepath.Join(s.Dir, "bob.pcap")
	capture := exec.Command(program, "capture", "--state", s.Dir, "--write", file, "bob")
	var said bytes.Buffer
	capture.Stderr = &said
	if err := capture.Start(); err != nil {
		t.Fatal(err)
	}
	written := func(more int64) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(pollPeriod) {
			if info, err := os.Stat(file); err == nil && info.Size() > more {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the capture does not grow; it says %q", said.String())
			}
		}
	}
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	written(0) // the header, so the capture has begun
	post(t, alice.DialContext, "bob:80", 1<<16)
	written(1 << 16)
	before := size()
	s.KillServer("net")
	post(t, alice.DialContext, "bob:80", 1<<16)
	written(before + 1<<16)
	if err := capture.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := capture.Wait(); err != nil {
		t.Errorf("capture: %v, it says %q", err, said.String())
	}
	out, problems, status := result(t, exec.Command("tshark", "-r", file, "-o", "tcp.check_checksum:TRUE", "-Y", "http.request or tcp.checksum.status==Bad"))
	if status != 0 || strings.Count(out, "POST") != 2 {
		t.Errorf("tshark: status %d\n%s\n%s", status, out, problems)
	}
}
