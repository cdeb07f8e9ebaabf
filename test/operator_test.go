package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/testenv"
)

// TestFullDisk: a command whose output nobody can have has failed.
func TestFullDisk(t *testing.T) {
	s := Up(t, program, twoApplications)
	image := filepath.Join(s.Dir, "disk.img")
	if _, said, status := result(t, exec.Command(program, "mkfs", "--size", "64M", image)); status != 0 {
		t.Fatal(said)
	}
	for _, args := range []string{
		"version", "version --json", "--help", "run --help", "completion bash", "doctor", "doctor --json",
		"ps --state STATE", "ps --json --state STATE", "kill --state STATE store", "restart --state STATE store",
		"restart --json --state STATE store", "fsck IMAGE", "fsck --json IMAGE", "debug ext4 ls IMAGE /", "debug ext4 stat IMAGE",
		"mkfs --force IMAGE",
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		c := exec.Command(program, strings.Fields(strings.NewReplacer("STATE", s.Dir, "IMAGE", image).Replace(args))...)
		c.Stdout, c.Stderr = full, &said
		_ = c.Run()
		full.Close()
		if c.ProcessState.ExitCode() != 1 || !strings.Contains(said.String(), "no space left") || !oneSentence(said.String()) {
			t.Errorf("quintet %s: status %d: %s", args, c.ProcessState.ExitCode(), said.String())
		}
	}
}

// TestInterrupt: a signal ends a command at whatever moment it comes, with the status
// that a shell expects.
func TestInterrupt(t *testing.T) {
	testenv.RequireRoot(t)
	interrupt := func(t *testing.T, after time.Duration, args ...string) string {
		t.Helper()
		c := exec.Command(args[0], args[1:]...)
		var said bytes.Buffer
		c.Stderr = &said
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lost := time.AfterFunc(patience, func() { _ = c.Process.Signal(syscall.SIGTERM) })
		defer lost.Stop()
		time.Sleep(after) // the moment, not a condition
		if err := c.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		ended := c.ProcessState.Sys().(syscall.WaitStatus)
		if ended.ExitStatus() != 128+int(syscall.SIGINT) && !(ended.Signaled() && ended.Signal() == syscall.SIGINT) {
			t.Errorf("after %v: %v: %s", after, c.ProcessState, said.String())
		}
		return said.String()
	}
	t.Run("run --compat", func(t *testing.T) {
		s := Up(t, program, twoGuests)
		for i := range 40 {
			interrupt(t, time.Duration(i)*4*time.Millisecond, s.compat("shell", "sleep", "1000")...)
		}
	})
	t.Run("demo", func(t *testing.T) {
		for i := range 6 {
			said := interrupt(t, time.Duration(i)*250*time.Millisecond, program, "demo", "--input", "..")
			lines := strings.Split(strings.TrimSpace(said), "\n")
			if last := lines[len(lines)-1]; said != "" && !strings.HasSuffix(last, "ended by a signal: interrupt") {
				t.Errorf("its last words: %s", said)
			}
		}
	})
}

// TestFewDescriptors: what an operator needs to look at a system and to end it works
// with next to no descriptors.
func TestFewDescriptors(t *testing.T) {
	s := Up(t, program, twoApplications)
	for _, args := range []string{"ps", "run --name test -- true", "down"} {
		verb, rest, _ := strings.Cut(args, " ")
		c := exec.Command("bash", "-c", "ulimit -n 16; exec "+program+" "+verb+" --state "+s.Dir+" "+rest)
		if _, said, status := s.result(c); status != 0 {
			t.Errorf("%s: status %d: %s", args, status, said)
		}
	}
}

// TestCaptureFindsTheNetwork: the name of a port says which network is meant.
func TestCaptureFindsTheNetwork(t *testing.T) {
	s := Up(t, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}, other: {server: net}}
applications:
  web: {networks: {lan: {}}}
  both: {networks: {lan: {}, other: {}}}
`)
	s.Network("web", "lan")
	s.Network("both", "lan")
	s.Network("both", "other")
	if _, said, status := s.quintet("capture", "both"); status != 2 || !strings.Contains(said, "lan, other") {
		t.Errorf("a port in two networks: status %d: %s", status, said)
	}
	if _, said, status := s.quintet("capture", "nobody"); status != 1 || !strings.Contains(said, "nobody") {
		t.Errorf("a port in none: status %d: %s", status, said)
	}
	file := filepath.Join(s.Dir, "capture")
	c := exec.Command(program, "capture", "--state", s.Dir, "--write", file, "web")
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pollPeriod) {
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			break
		}
	}
	_ = c.Process.Signal(os.Interrupt)
	if err := c.Wait(); err != nil || strings.HasPrefix(said.String(), "0 bytes") {
		t.Errorf("a port in one: %v: %s", err, said.String())
	}
}

// TestFsckOfAnythingElse: what is no ext4 is not told to be checked.
func TestFsckOfAnythingElse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(file, bytes.Repeat([]byte("other"), 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said, status := result(t, exec.Command(program, "fsck", file)); status != 1 || !oneSentence(said) || strings.Contains(said, "run fsck") {
		t.Errorf("status %d: %s", status, said)
	}
}
