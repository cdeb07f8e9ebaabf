package inspect_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/files/ext4/inspect"
)

func TestInspect(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	v := image.NewMemory(32 << 20)
	if err := ext4.Format(v, ext4.FormatOptions{Now: now, Label: "label", Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(v, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	op := func() *ext4.Op { return &ext4.Op{Now: now} }
	a, err := f.Create(op(), ext4.Root, "a\nfile", 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(op(), a.Ino, []byte("content"), 8192); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Symlink(op(), ext4.Root, "link", "a\nfile"); err != nil {
		t.Fatal(err)
	}
	if err := f.SetXattr(op(), a.Ino, "user.k", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // and no Close: the journal stays dirty
		t.Fatal(err)
	}
	read, err := ext4.Open(v, ext4.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ext4.Open(v, ext4.Options{NoRecovery: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		print func(w *bytes.Buffer) error
		want  []string
	}{
		{"ls", func(w *bytes.Buffer) error { return inspect.Ls(w, read, "/") }, []string{`"a\nfile"`, "lost+found", "-rw-r-----", `link -> "a\nfile"`}},
		{"cat", func(w *bytes.Buffer) error { return inspect.Cat(w, read, "/link") }, []string{strings.Repeat("\x00", 8192) + "content"}},
		{"stat", func(w *bytes.Buffer) error { return inspect.Stat(w, read, "/a\nfile") }, []string{"size 8199", "bytes 0 to 8192: hole", `user.k = "v"`, "2023-11-14"}},
		{"statfs", func(w *bytes.Buffer) error { return inspect.Stat(w, read, "") }, []string{`label "label"`, "metadata_csum", "has_journal"}},
		{"journal", func(w *bytes.Buffer) error { return inspect.Journal(w, raw) }, []string{"blocks 1024 of 4096", "to be replayed from"}},
	} {
		var out bytes.Buffer
		if err := c.print(&out); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, w := range c.want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s lacks %q:\n%s", c.name, w, out.String())
			}
		}
	}
}
