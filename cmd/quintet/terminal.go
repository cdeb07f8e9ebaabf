package main

import (
	"maps"
	"os"
	"slices"

	"github.com/quintet-os/quintet/internal/unix"
)

// terminal tells whether f is a terminal, for progress that a log would not
// want.
func terminal(f *os.File) bool { return unix.IsTerminal(int(f.Fd())) }

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
