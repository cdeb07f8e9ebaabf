// Package doctor finds out what the host offers Quintet: what works, what is
// weaker or slower for lack of something, what cannot work at all, and how to
// mend it. It tries things rather than reads versions, where trying is
// harmless, and leaves nothing behind.
package doctor

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// State is how well the host serves one need.
type State string

const (
	OK       State = "ok"
	Degraded State = "degraded" // Quintet runs, but weaker, slower or without a feature
	Missing  State = "missing"  // what needs it does not work
)

// Finding is the result of one check.
type Finding struct {
	Name     string `json:"name"`
	State    State  `json:"state"`
	Required bool   `json:"required"`       // nothing works where it is missing
	Found    string `json:"found"`          // what is there
	Means    string `json:"means"`          // what it is good for
	Mend     string `json:"mend,omitempty"` // what to do; empty when ok
}

// check is one need. look returns what it found, and how to mend it if the
// state is not OK.
type check struct {
	name     string
	required bool
	means    string
	look     func(directory string) (state State, found, mend string)
}

// Check looks at everything, for the user who runs it. The directory is where
// the supervisor keeps its state; volumes on files are taken to be there.
func Check(directory string) []Finding {
	all := make([]Finding, 0, len(checks))
	for _, c := range checks {
		state, found, mend := c.look(directory)
		f := Finding{Name: c.name, State: state, Required: c.required, Found: found, Means: c.means}
		if state != OK {
			f.Mend = mend
		}
		all = append(all, f)
	}
	return all
}

// Able tells whether Quintet can run at all.
func Able(findings []Finding) bool {
	for _, f := range findings {
		if f.Required && f.State == Missing {
			return false
		}
	}
	return true
}

// Print writes a table for people, with the remedies below it.
func Print(w io.Writer, findings []Finding) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NEED\tSTATE\tFOUND\tFOR")
	for _, f := range findings {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.Name, f.State, f.Found, f.Means)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range findings {
		if f.State != OK {
			if _, err := fmt.Fprintf(w, "\n%s (%s): %s\n", f.Name, f.State, f.Mend); err != nil {
				return err
			}
		}
	}
	return nil
}
