package device

import (
	"os"
	"path/filepath"
	"testing"
)

// TestIdentity: a file is the same under another name and through another description,
// and another one under the same name.
func TestIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	identify := func(path string) Identity {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		i, err := Identify(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	first := identify(path)
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if again := identify(path + ".moved"); again != first {
		t.Errorf("%v under another name, it was %v", again, first)
	}
	if other := identify(path); other == first {
		t.Errorf("another file at the same path: %v", other)
	}
}
