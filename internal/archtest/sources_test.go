package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fileLinesMax is the length at which a file holds more than one noun.
const fileLinesMax = 450

// root returns the module's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sources returns the files of the tree, by slash path from the root, whatever
// their build tags.
func sources(t *testing.T, extensions ...string) map[string][]byte {
	t.Helper()
	tree := os.DirFS(root(t))
	files := make(map[string][]byte)
	err := fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			hidden := strings.HasPrefix(entry.Name(), ".") && path != "."
			if hidden || entry.Name() == "testdata" || path == "bin" {
				return fs.SkipDir
			}
			return nil
		}
		for _, extension := range extensions {
			if strings.HasSuffix(path, extension) {
				files[path], err = fs.ReadFile(tree, path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no %v files found", extensions)
	}
	return files
}

func TestFilesStayShort(t *testing.T) {
	for path, text := range sources(t, ".go", ".s", ".c", ".h", ".pml", ".sh") {
		if lines := bytes.Count(text, []byte("\n")); lines > fileLinesMax {
			t.Errorf("%s has %d lines, more than %d", path, lines, fileLinesMax)
		}
	}
}

// syscallTypes are the members of package syscall that look like calls but only
// convert.
var syscallTypes = map[string]bool{"Errno": true, "Signal": true, "WaitStatus": true}

func TestUnsafeAndSystemCallsStayConfined(t *testing.T) {
	for path, text := range sources(t, ".go") {
		positions := token.NewFileSet()
		file, err := parser.ParseFile(positions, path, text, parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		maySyscall := strings.HasPrefix(path, "internal/unix/")
		mayUnsafe := isUnsafeFile(path)
		for _, spec := range file.Imports {
			switch imported := strings.Trim(spec.Path.Value, `"`); {
			case imported == "unsafe" && !mayUnsafe:
				t.Errorf("%s imports unsafe: only *_unsafe.go files may", path)
			case imported == "C":
				t.Errorf("%s uses cgo: the binary is built without", path)
			case imported == "golang.org/x/sys/unix" && !maySyscall:
				t.Errorf("%s imports %s: only internal/unix may", path, imported)
			}
		}
		ast.Inspect(file, func(node ast.Node) bool {
			call, isCall := node.(*ast.CallExpr)
			if !isCall || maySyscall {
				return true
			}
			selector, isSelector := call.Fun.(*ast.SelectorExpr)
			if !isSelector {
				return true
			}
			if pkg, isName := selector.X.(*ast.Ident); isName && pkg.Name == "syscall" && pkg.Obj == nil && !syscallTypes[selector.Sel.Name] {
				t.Errorf("%s: syscall.%s: system calls are made by internal/unix", positions.Position(call.Pos()), selector.Sel.Name)
			}
			return true
		})
		for _, group := range file.Comments {
			for _, comment := range group.List {
				if strings.HasPrefix(comment.Text, "//go:linkname") && !mayUnsafe {
					t.Errorf("%s: go:linkname: only *_unsafe.go files may", positions.Position(comment.Pos()))
				}
			}
		}
	}
}

func isUnsafeFile(path string) bool {
	return strings.HasSuffix(path, "_unsafe.go") || strings.HasSuffix(path, "_unsafe_test.go")
}

// trap matches the instructions that enter the kernel.
var trap = regexp.MustCompile(`(?m)^\s*(SYSCALL|SVC)\b`)

func TestAssemblyMakesNoSystemCalls(t *testing.T) {
	for path, text := range sources(t, ".s") {
		if !strings.HasPrefix(path, "internal/unix/") && trap.Match(text) {
			t.Errorf("%s enters the kernel: system calls are made by internal/unix", path)
		}
	}
}
