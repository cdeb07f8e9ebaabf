package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong with a file.
type Error struct {
	File         string
	Line, Column int    // from 1; 0 where there is none
	Key          string // such as volumes.data.size; empty for the whole file
	Reason       string // what is wrong, what is allowed, what was meant
}

// Error is one line, as compilers print it.
func (e *Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
	}
	if e.Key != "" {
		where += ": " + e.Key
	}
	return where + ": " + e.Reason
}

// Errors are all things wrong with a file, in its order; at most errorsMax.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, each := range e {
		lines[i] = each.Error()
	}
	return strings.Join(lines, "\n")
}

func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, each := range e {
		all[i] = each
	}
	return all
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// allowed words a list of alternatives, after a guess at what was meant.
func allowed(got string, alternatives []string) string {
	if len(alternatives) == 0 {
		return "none is declared"
	}
	list := "allowed: " + strings.Join(alternatives, ", ")
	if guess := nearest(got, alternatives); guess != "" {
		return fmt.Sprintf("did you mean %q? (%s)", guess, list)
	}
	return list
}

// nearest returns the alternative with the smallest edit distance from got,
// or nothing if none is nearer than suggestionDistance and half of got.
func nearest(got string, alternatives []string) string {
	if len(got) > nameBytesMax {
		return ""
	}
	best, limit := "", min(suggestionDistance, (len(got)+1)/2)+1
	for _, each := range alternatives {
		if d := distance(strings.ToLower(got), strings.ToLower(each)); d < limit {
			best, limit = each, d
		}
	}
	return best
}

// distance counts insertions, deletions, replacements and swaps of neighbours
// (optimal string alignment).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
