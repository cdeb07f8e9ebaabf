package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// citation matches a package and the tests named after it, as SPECIFICATION.md
	// writes them: `storage/server`: `TestA`, `TestB`.
	citation  = regexp.MustCompile("`([a-z0-9/]+)`: ((?:`(?:Test|Fuzz|Benchmark)\\w+`(?:, )?)+)")
	testName  = regexp.MustCompile(`(?:Test|Fuzz|Benchmark)\w+`)
	anyQuoted = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)\\w+)`")
)

// A promise that names a test which is not there is worth nothing.
func TestSpecificationNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root(t), "SPECIFICATION.md"))
	if err != nil {
		t.Fatal(err)
	}
	cited := make(map[string]bool)
	for _, match := range citation.FindAllStringSubmatch(string(page), -1) {
		source := testSource(t, filepath.Join(root(t), match[1]))
		for _, name := range testName.FindAllString(match[2], -1) {
			cited[name] = true
			if !strings.Contains(source, "func "+name+"(") {
				t.Errorf("SPECIFICATION.md cites %s of %s, which has no such test", name, match[1])
			}
		}
	}
	if len(cited) == 0 {
		t.Error("no citation was recognised")
	}
	for _, match := range anyQuoted.FindAllStringSubmatch(string(page), -1) {
		if !cited[match[1]] {
			t.Errorf("SPECIFICATION.md names %s without the package it is in", match[1])
		}
	}
}

// testSource is the text of all test files directly in dir.
func testSource(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(source)
	}
	return text.String()
}
