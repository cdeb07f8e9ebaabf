package test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/network/link/linktest"
)

// freshUser is nobody's uid.
const freshUser = 54321

// commands are the lines of the indented block of README.md that begins so.
func commands(t *testing.T, first string) []string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "\n    "+first)
	block, _, ended := strings.Cut(first+block, "\n\n")
	lines := strings.Split(block, "\n")
	if !found || !ended || len(lines) == 0 {
		t.Fatalf("README.md has no block that begins with %q", first)
	}
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "    ")
	}
	return lines
}

// TestReadme: a user who has never been here types what README.md says, in a shell, and
// every command of it succeeds. Only the build is left out.
func TestReadme(t *testing.T) {
	host := linktest.NewNamespace(t) // whose ports nobody has taken; skips without root
	if err := host.SetUp("lo"); err != nil {
		t.Fatal(err)
	}
	home := shortDir(t)
	for _, dir := range []string{"bin", "docs", "tmp"} {
		if err := os.Mkdir(filepath.Join(home, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{program: "bin/quintet", "../docs/start.yaml": "docs/start.yaml"} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(home, to), data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "-R", "54321:54321", home).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// As in a shell at a terminal: jobs, and each command on its own.
	script := "set -m\n"
	for _, block := range [][]string{commands(t, "make build")[1:], commands(t, "bin/quintet mkfs")} {
		for _, line := range block {
			script += "echo '$ '" + quoted(line) + "\n" + line + "\n[ $? = 0 ] || { echo FAILED; failed=1; }\n"
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script+"exit $failed")
	shell.Dir = home
	shell.Env = []string{"HOME=" + home, "TMPDIR=" + home + "/tmp", "PATH=/usr/local/bin:/usr/bin:/bin"}
	shell.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: freshUser, Gid: freshUser}}
	shell.WaitDelay = patience
	var said bytes.Buffer
	shell.Stdout, shell.Stderr = &said, &said
	err := errors.Join(host.Start(shell), shell.Wait())
	if err != nil {
		t.Errorf("%v", err)
		down := exec.Command(filepath.Join(home, "bin/quintet"), "down")
		down.Env, down.SysProcAttr = shell.Env, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: freshUser, Gid: freshUser}}
		_ = down.Run()
	}
	if strings.Count(said.String(), "Directory listing for") < 2 {
		t.Error("the web server was not reached twice")
	}
	if t.Failed() {
		t.Logf("what was said:\n%s", said.String())
	}
}

// quoted is a word of the shell.
func quoted(line string) string { return "'" + strings.ReplaceAll(line, "'", `'\''`) + "'" }
