// Package peer holds the C programs that the benchmarks run beside Quintet, and
// compiles them on the machine they measure.
package peer

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed c
var sources embed.FS

// ErrNoCompiler: this machine has no gcc.
var ErrNoCompiler = errors.New("gcc is missing, so there is no C program to compare with: install it (Debian: apt-get install gcc libc6-dev)")

// Programs are the names of the C programs.
var Programs = []string{"spin", "futex", "socket"}

// Build compiles all programs with gcc -O2 into dir, under their names. It
// returns ErrNoCompiler when there is no gcc.
func Build(ctx context.Context, dir string) error {
	if _, err := exec.LookPath("gcc"); err != nil {
		return ErrNoCompiler
	}
	if err := os.CopyFS(dir, sources); err != nil {
		return fmt.Errorf("lay out the C programs: %w", err)
	}
	for _, name := range Programs {
		source := filepath.Join(dir, "c", name+".c")
		gcc := exec.CommandContext(ctx, "gcc", "-O2", "-Wall", "-o", filepath.Join(dir, name), source)
		if out, err := gcc.CombinedOutput(); err != nil {
			return fmt.Errorf("gcc -O2 %s.c: %w\n%s", name, err, out)
		}
	}
	return nil
}
