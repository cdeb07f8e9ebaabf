package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is the built program.
var program string

func TestMain(m *testing.M) {
	if os.Getenv(clientVariable) != "" {
		clientProcess()
		return
	}
	if os.Getenv(openVariable) != "" {
		openProcess()
		return
	}
	if os.Getenv(victimVariable) != "" {
		victimProcess()
		return
	}
	dir, err := os.MkdirTemp("", "quintet-test-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "quintet")
	build := exec.Command("go", "build", "-o", program, "../cmd/quintet")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
