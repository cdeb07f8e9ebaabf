package fold_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/fold"
	"github.com/quintet-os/quintet/internal/testenv"
)

// TestFoldsAsE2fsprogs has every character, alone and among combining ones, hashed by
// debugfs, whose tables are Linux's.
func TestFoldsAsE2fsprogs(t *testing.T) {
	testenv.Unraced(t)
	every := 41
	if os.Getenv("QUINTET_LONG") != "" {
		every = 1
	}
	var names []string
	start := rand.IntN(every)
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		s := string(r)
		special := cases.Fold().String(s) != s || !norm.NFD.IsNormalString(s) || norm.NFD.PropertiesString(s).CCC() != 0 || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
		if r >= 0xD800 && r < 0xE000 || !special && int(r)%every != start {
			continue
		}
		names = append(names, "a"+s+"b", "a\u0301"+s+"\u0316\u0334b")
	}
	names = append(names, []string{"Straße", "ſ", "İI", "ΑΣς", "\u1E9E", "ﬃ", "Å\u0323", "\u0345\u0301", "각", "각\u11A8", "\xFFbad", "tail\xC3", "\u00AD", "x\u200Dy", "ᾳ\u0345", "ǰǅ", "Ꭰꭰ"}...)
	hashes := debugfsHashes(t, names)
	if len(hashes) != len(names) {
		t.Fatalf("%d hashes of %d names", len(hashes), len(names))
	}
	wrong := 0
	for k, name := range names {
		folded, ok := fold.Name(nil, name)
		if !ok {
			if hashes[k] != "" {
				t.Errorf("%+q is not UTF-8 here, and by debugfs", name)
			}
			continue
		}
		major, minor, err := disk.NameHash(disk.HashHalfMD4, [4]uint32{}, folded)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("0x%x (minor 0x%x)", major, minor); got != hashes[k] {
			if wrong++; wrong < 30 {
				t.Errorf("%+q folds to %+q: %s, by debugfs %s", name, folded, got, hashes[k])
			}
		}
		if ok && !fold.Same(folded, []byte(name)) {
			t.Errorf("%+q is not what it folds to, %+q", name, folded)
		}
	}
	t.Logf("%d names, %d wrong", len(names), wrong)
}

var hashLine = regexp.MustCompile(`(?s)Hash of .*? is (0x[0-9a-f]+ \(minor 0x[0-9a-f]+\))`)

func debugfsHashes(t *testing.T, names []string) (hashes []string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "dx_hash -h half_md4 -c -e utf8 %s\n", name)
	}
	if err := os.WriteFile(script, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, code := ext4test.Run(t, "debugfs", "-f", script)
	if code != 0 {
		t.Fatalf("debugfs: status %d: %.500s", code, out)
	}
	for _, answer := range strings.Split(out, "debugfs: dx_hash ")[1:] {
		m := hashLine.FindStringSubmatch(answer)
		if m == nil {
			m = []string{"", ""} // it refuses what is not UTF-8
		}
		hashes = append(hashes, m[1])
	}
	return hashes
}

// TestTablesAreOfTheirTime holds the table of newer characters to the versions it was made
// for: those after it may have more.
func TestTablesAreOfTheirTime(t *testing.T) {
	for _, v := range []string{norm.Version, cases.UnicodeVersion} {
		if v != "15.0.0" {
			t.Errorf("golang.org/x/text knows Unicode %s: add to the table of newer characters what it has after 15.0", v)
		}
	}
}

func TestSame(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"Name", "nAME", true}, {"name", "names", false}, {"names", "name", false}, {"é", "E\u0301", true}, {"STRASSE", "straße", true},
		{"ab", "a\u200Db", true}, {"ab", "a\u200Dc", false}, {"\u00AD", "\u200D", true}, {"K", "\u212A", true}, {"a\u212A", "AK", true},
		{"\U00011938", "\U00011935\U00011930", false}, {"\U00010570", "\U00010597", false}, {"ab\xFF", "AB\xFF", false},
	} {
		folded, ok := fold.Name(nil, c.a)
		if got := ok && fold.Same(folded, []byte(c.b)); got != c.same {
			t.Errorf("%+q and %+q: %v", c.a, c.b, got)
		}
	}
}
