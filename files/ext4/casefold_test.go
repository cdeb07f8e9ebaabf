package ext4_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/fold"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
)

// caseless makes a directory that ignores case.
func caseless(a *author, in uint32, name string) uint32 {
	a.t.Helper()
	d, err := a.f.Mkdir(a.next(), in, name, 0o755)
	a.must(err)
	flags := uint32(disk.FlagCasefold)
	a.must(a.f.Setattr(a.next(), d.Ino, ext4.SetAttr{Flags: &flags}))
	return d.Ino
}

// TestNamesWithoutCase has names looked up, made, renamed and removed by other spellings.
func TestNamesWithoutCase(t *testing.T) {
	testenv.Unraced(t)
	f, done := openPath(t, ext4test.Mkfs(t, 16<<20, "-O", "casefold", "-E", "encoding=utf8"))
	defer done()
	a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
	dir := caseless(a, ext4.Root, "dir")
	ino := a.file(dir, "Straße", nil, 0)
	for _, name := range []string{"Straße", "STRASSE", "strasse", "stra\u200DSSe"} {
		if got, err := f.Lookup(dir, name); err != nil || got != ino {
			t.Errorf("%+q: %d, %v", name, got, err)
		}
		if _, err := f.Create(a.next(), dir, name, 0o644); ext4.KindOf(err) != ext4.KindExist {
			t.Errorf("create %+q: %v", name, err)
		}
		if err := f.Link(a.next(), ino, dir, name); ext4.KindOf(err) != ext4.KindExist {
			t.Errorf("link %+q: %v", name, err)
		}
	}
	names := func() (list []string) {
		must(t, f.ReadDir(dir, 0, func(e ext4.DirEntry) bool {
			if e.Name[0] != '.' {
				list = append(list, e.Name)
			}
			return true
		}))
		return list
	}
	for _, c := range []struct {
		from, to string
		flags    ext4.RenameFlags
		kind     ext4.Kind
		want     string
	}{
		{"STRASSE", "strasse", ext4.NoReplace, ext4.KindExist, "Straße"},
		{"STRASSE", "strasse", ext4.Exchange, 0, "Straße"},
		{"STRASSE", "strasse", 0, 0, "strasse"},
		{"strasse", "strasse", 0, 0, "strasse"},
		{"Strasse", "É", 0, 0, "É"},
		{"e\u0301", "E\u0301", 0, 0, "E\u0301"},
	} {
		if err := f.Rename(a.next(), dir, c.from, dir, c.to, c.flags); ext4.KindOf(err) != c.kind {
			t.Errorf("rename %+q to %+q: %v", c.from, c.to, err)
		}
		if got := names(); len(got) != 1 || got[0] != c.want {
			t.Errorf("after rename of %+q to %+q: %+q, want %+q", c.from, c.to, got, c.want)
		}
	}
	// One that is renamed over another takes its place, and its spelling.
	other := a.file(dir, "other", nil, 0)
	must(t, f.Rename(a.next(), dir, "OTHER", dir, "é", 0))
	if got, err := f.Lookup(dir, "É"); err != nil || got != other || fmt.Sprintf("%+q", names()) != `["E\u0301"]` {
		t.Errorf("%d, %v, %+q", got, err, names())
	}
	must(t, f.Unlink(a.next(), dir, "e\u0301"))
	// What is not UTF-8 is only like itself.
	a.file(dir, "a\xFF", nil, 0)
	if _, err := f.Lookup(dir, "A\xFF"); ext4.KindOf(err) != ext4.KindNotExist {
		t.Error(err)
	}
	a.file(dir, "A\xFF", nil, 0)
	// Characters that are newer than the kernel's tables are as they are.
	a.file(dir, "\U00010570", nil, 0)
	a.file(dir, "\U00010597", nil, 0)
	// Elsewhere case counts.
	a.file(ext4.Root, "FILE", nil, 0)
	file := a.file(ext4.Root, "file", nil, 0)
	sub, err := f.Mkdir(a.next(), dir, "Sub", 0o755)
	must(t, err)
	a.file(sub.Ino, "File", nil, 0)
	if got, err := f.Walk("/dir/SUB/FILE", false); err != nil || got == 0 {
		t.Errorf("in a directory made in one without case: %v", err)
	}
	none := uint32(0)
	if err := f.Setattr(a.next(), dir, ext4.SetAttr{Flags: &none}); ext4.KindOf(err) != ext4.KindNotEmpty {
		t.Errorf("with names in it: %v", err)
	}
	flags := uint32(disk.FlagCasefold)
	if err := f.Setattr(a.next(), file, ext4.SetAttr{Flags: &flags}); ext4.KindOf(err) != ext4.KindNotDir {
		t.Errorf("a file: %v", err)
	}
}

// TestStrictNames refuses what is not UTF-8, only where case does not count.
func TestStrictNames(t *testing.T) {
	path := ext4test.Mkfs(t, 16<<20, "-O", "casefold", "-E", "encoding=utf8,encoding_flags=strict")
	f, done := openPath(t, path)
	a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
	dir := caseless(a, ext4.Root, "dir")
	ino := a.file(dir, "good", nil, 0)
	const bad = "bad\xC3"
	_, err := f.Create(a.next(), dir, bad, 0o644)
	_, err2 := f.Lookup(dir, bad)
	for _, err := range []error{err, err2, f.Link(a.next(), ino, dir, bad), f.Rename(a.next(), dir, "good", dir, bad, 0), f.Unlink(a.next(), dir, bad)} {
		if ext4.KindOf(err) != ext4.KindInvalid {
			t.Errorf("%v, want %v", err, ext4.KindInvalid)
		}
	}
	a.file(ext4.Root, bad, nil, 0)
	done()
	ext4test.Fsck(t, path)
}

// TestCaseNeedsTheFeature refuses the flag without it, and encodings that are not known.
func TestCaseNeedsTheFeature(t *testing.T) {
	path := ext4test.Mkfs(t, 16<<20)
	f, done := openPath(t, path)
	a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
	d, err := f.Mkdir(a.next(), ext4.Root, "dir", 0o755)
	must(t, err)
	flags := uint32(disk.FlagCasefold)
	if err := f.Setattr(a.next(), d.Ino, ext4.SetAttr{Flags: &flags}); ext4.KindOf(err) != ext4.KindNotSupported {
		t.Error(err)
	}
	done()
	path = ext4test.Mkfs(t, 16<<20, "-O", "casefold", "-E", "encoding=utf8")
	succeed(t, "debugfs", "-w", "-R", "set_super_value encoding 2", path)
	v, err := image.Open(path, true)
	must(t, err)
	defer v.Close()
	if _, err := ext4.Open(v, ext4.Options{ReadOnly: true}); !errors.Is(err, disk.ErrUnsupported) || !strings.Contains(err.Error(), "casefold in encoding 2") {
		t.Errorf("%v", err)
	}
}

// TestManyNamesWithoutCase does random operations under random spellings in directories
// that grow an index, beside a map. e2fsck finds the hashes right, and what it makes of the
// index is what we look up in.
func TestManyNamesWithoutCase(t *testing.T) {
	testenv.Unraced(t)
	for _, args := range [][]string{{"-b", "1024"}, {"-b", "4096", "-O", "^metadata_csum"}, {"-b", "1024", "-O", "^dir_index,^metadata_csum"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			path := ext4test.Mkfs(t, 32<<20, append([]string{"-N", "8192", "-O", "casefold", "-E", "encoding=utf8"}, args...)...)
			f, done := openPath(t, path)
			a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
			dir := caseless(a, ext4.Root, "dir")
			there := map[string]string{} // by the folded name
			inos := map[string]uint32{}
			key := func(name string) string {
				folded, ok := fold.Name(nil, name)
				if !ok {
					return name
				}
				return string(folded)
			}
			for range 1200 {
				name := spelling(rng, rng.IntN(500))
				k := key(name)
				old, exists := there[k]
				switch rng.IntN(5) {
				case 0, 1:
					at, err := f.Create(a.next(), dir, name, 0o644)
					if (err == nil) == exists || exists && ext4.KindOf(err) != ext4.KindExist {
						t.Fatalf("create %+q beside %+q: %v", name, old, err)
					}
					if err == nil {
						there[k], inos[k] = name, at.Ino
					}
				case 2:
					if err := f.Unlink(a.next(), dir, name); (err == nil) != exists {
						t.Fatalf("unlink %+q, there is %+q: %v", name, old, err)
					}
					delete(there, k)
				case 3:
					to := spelling(rng, rng.IntN(500))
					if rng.IntN(3) == 0 {
						to = swapCase(name)
					}
					err := f.Rename(a.next(), dir, name, dir, to, 0)
					if (err == nil) != exists {
						t.Fatalf("rename %+q to %+q: %v", name, to, err)
					}
					if exists {
						target := there[key(to)]
						delete(there, k)
						there[key(to)], inos[key(to)] = to, inos[k]
						if target != "" && key(to) != k {
							there[key(to)] = target // it keeps its spelling
						}
					}
				case 4:
					if got, err := f.Lookup(dir, name); (err == nil) != exists || exists && got != inos[k] {
						t.Fatalf("lookup %+q, there is %+q: %d, %v", name, old, got, err)
					}
				}
			}
			look := func() {
				t.Helper()
				left := map[string]bool{}
				must(t, f.ReadDir(dir, 0, func(e ext4.DirEntry) bool {
					left[e.Name] = true
					return true
				}))
				for k, name := range there {
					if !left[name] {
						t.Errorf("%+q is not listed", name)
					}
					if got, err := f.Lookup(dir, swapCase(name)); err != nil || got != inos[k] {
						t.Errorf("%+q: %d, %v", swapCase(name), got, err)
					}
				}
				if len(left) != len(there)+2 {
					t.Errorf("%d names are listed of %d", len(left), len(there)+2)
				}
			}
			look()
			done()
			ext4test.Fsck(t, path)
			if r := checkPath(t, path); !r.Clean() {
				t.Fatalf("%d problems: %v", r.Count, r.Problems[:min(len(r.Problems), 5)])
			}
			if out, code := ext4test.Run(t, "e2fsck", "-fyD", path); code > 1 {
				t.Fatal(out)
			}
			f, done = openPath(t, path)
			look()
			done()
		})
	}
}

// spelling is one of many ways to spell the n-th name.
func spelling(rng *rand.Rand, n int) string {
	name := []string{"file", "straße", "é", "Ångström", "σς", "ǆ", "각", "name"}[n%8] + fmt.Sprint(n) + strings.Repeat("x", n%90)
	switch rng.IntN(4) {
	case 0:
		return strings.ToUpper(name)
	case 1:
		return strings.ReplaceAll(strings.ReplaceAll(name, "é", "e\u0301"), "Å", "a\u030A")
	case 2:
		return swapCase(name)
	}
	return name
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if u := []rune(strings.ToUpper(string(r))); len(u) == 1 && u[0] != r {
			return u[0]
		}
		if l := []rune(strings.ToLower(string(r))); len(l) == 1 {
			return l[0]
		}
		return r
	}, s)
}

// TestCheckKnowsCase finds two names that are one, and hashes of names as they stand.
func TestCheckKnowsCase(t *testing.T) {
	path := ext4test.Mkfs(t, 16<<20, "-b", "1024", "-O", "casefold", "-E", "encoding=utf8")
	f, done := openPath(t, path)
	a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
	d, err := f.Mkdir(a.next(), ext4.Root, "dir", 0o755)
	must(t, err)
	for n := range 60 {
		a.file(d.Ino, fmt.Sprintf("A long name %d %s", n, strings.Repeat("N", 30)), nil, 0)
	}
	a.file(d.Ino, "one", nil, 0)
	a.file(d.Ino, "ONE", nil, 0)
	at, err := f.Stat(d.Ino)
	must(t, err)
	done()
	succeed(t, "debugfs", "-w", "-R", fmt.Sprintf("set_inode_field /dir flags %#x", at.Flags|disk.FlagCasefold), path)
	if _, code := ext4test.Run(t, "e2fsck", "-fn", path); code == 0 {
		t.Error("e2fsck finds nothing")
	}
	found := strings.Join(checkPath(t, path).Problems, "\n")
	for _, want := range []string{"stands there twice", "wrong leaf"} {
		if !strings.Contains(found, want) {
			t.Errorf("%q is not found: %s", want, found)
		}
	}
}
