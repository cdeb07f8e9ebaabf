package demo

import (
	"strings"
	"testing"
)

// TestVerdict: a run passes when the server was killed and nothing went wrong,
// and the table says so, or why not.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		result Result
		passed bool
		say    []string
	}{
		{Result{Kills: 1, NetworkKills: 1, Connections: 1, Passes: 1}, true, []string{"copied once,", "nothing was lost"}},
		{Result{Kills: 9, NetworkKills: 9, Connections: 4, Passes: 2}, true, []string{"copied 2 times,", "nothing was lost"}},
		{Result{Problem: "no kills"}, false, []string{"FAILED: no kills"}},
		{Result{Kills: 1, NetworkKills: 1, Passes: 1, Problem: "no exchange"}, false, []string{"FAILED: no exchange"}},
		{Result{Kills: 1, NetworkKills: 1, Connections: 4, Dropped: 1, Problem: "a connection"}, false, []string{"4, 1 dropped", "FAILED: a connection"}},
		{Result{Kills: 1, Lost: 1, Problem: "a request"}, false, []string{"FAILED: a request"}},
		{Result{Kills: 1, Duplicated: 1, Problem: "a block"}, false, []string{"FAILED: a block"}},
		{Result{Kills: 1, Mismatched: 1, Problem: "a file"}, false, []string{"FAILED: a file"}},
	} {
		if c.result.Passed() != c.passed {
			t.Errorf("%+v: passed %v", c.result, !c.passed)
		}
		var out strings.Builder
		if err := c.result.Table(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.say {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%+v: the table lacks %q:\n%s", c.result, want, out.String())
			}
		}
	}
}
