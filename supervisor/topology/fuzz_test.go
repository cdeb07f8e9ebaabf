package topology

import (
	"errors"
	"os"
	"testing"
)

// FuzzParse: whatever the text, Parse ends, and either names what is wrong or
// returns a topology whose references all hold. The corpus is in testdata/fuzz.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../docs/quintet.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("servers: &a {s: {kind: storage}}\nvolumes: *a\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Parse("fuzz", text)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 || len(all) > errorsMax {
				t.Fatalf("error %v (%T), want 1 to %d Errors", err, err, errorsMax)
			}
			return
		}
		for _, v := range got.Volumes {
			if _, ok := got.Server(v.Server); !ok || v.Size%int64(v.BlockSize) != 0 {
				t.Errorf("volume accepted: %+v", v)
			}
		}
		for _, g := range got.Grants {
			if _, ok := got.Volume(g.Volume); !ok || g.Limits.Requests < 1 || (g.Access != ReadOnly && g.Access != ReadWrite) {
				t.Errorf("grant accepted: %+v", g)
			}
		}
	})
}
