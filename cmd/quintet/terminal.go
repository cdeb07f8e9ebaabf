package main

import (
	"maps"
	"os"
	"slices"
)

// terminal tells whether f is a terminal, for progress that a log would not
// want.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
