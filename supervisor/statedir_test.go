package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
)

// TestUnsafeStateDirectories: where another user could have been before, or could come
// after, no state is kept.
func TestUnsafeStateDirectories(t *testing.T) {
	hold := func(path string) error {
		d, err := holdStateDir(path)
		if err == nil {
			err = d.release()
		}
		return err
	}
	good := filepath.Join(t.TempDir(), "good")
	for range 2 {
		if err := hold(good); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	if err := hold(link); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a link: %v", err)
	}
	for _, mode := range []os.FileMode{0o777, 0o770, 0o1777} {
		open := t.TempDir()
		if err := os.Chmod(open, mode); err != nil {
			t.Fatal(err)
		}
		if err := hold(open); !errors.Is(err, ErrUnsafe) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	linked := t.TempDir()
	if err := os.Chmod(linked, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(linked, lockName)); err != nil {
		t.Fatal(err)
	}
	if err := hold(linked); err == nil {
		t.Error("a lock that is a link is taken")
	}
	if content, err := os.ReadFile(victim); err != nil || string(content) != "precious" {
		t.Errorf("the file that it leads to now reads %q, %v", content, err)
	}
}

func TestStateDirectoryOfAnotherUser(t *testing.T) {
	testenv.RequireRoot(t)
	foreign := t.TempDir()
	if err := os.Chmod(foreign, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(foreign, 54321, 54321); err != nil {
		t.Fatal(err)
	}
	if _, err := holdStateDir(foreign); !errors.Is(err, ErrUnsafe) {
		t.Errorf("another user's directory: %v", err)
	}
}
