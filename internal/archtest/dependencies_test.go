package archtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// row matches the first two cells of a line of the table.
var row = regexp.MustCompile(`(?m)^\| (\S+) \| (v\d\S+) \|`)

func TestDependenciesAreAccountedFor(t *testing.T) {
	edit := exec.Command("go", "mod", "edit", "-json")
	edit.Dir = root(t)
	out, err := edit.Output()
	if err != nil {
		t.Fatalf("go mod edit -json: %v", err)
	}
	var mod struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
		Tool []struct{ Path string }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]string)
	for _, cells := range row.FindAllStringSubmatch(string(page), -1) {
		listed[cells[1]] = cells[2]
	}
	required := make(map[string]string)
	for _, r := range mod.Require {
		required[r.Path] = r.Version
		if r.Indirect {
			continue
		}
		if listed[r.Path] != r.Version {
			t.Errorf("go.mod requires %s %s; docs/dependencies.md lists %q", r.Path, r.Version, listed[r.Path])
		}
	}
	for path, version := range listed {
		if required[path] != version {
			t.Errorf("docs/dependencies.md lists %s %s; go.mod has %q", path, version, required[path])
		}
	}
}
