package ext4_test

import (
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
)

// TestTangledMapsEnd has every pointer of a file's map lead to one block of
// pointers, whose pointers all lead to one, and so on: whoever followed each
// would be at it for weeks. Checking ends, and finds it; so does removal.
func TestTangledMapsEnd(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20, append(ext3, "-b", "4096")...)
	content, err := os.ReadFile(path)
	must(t, err)
	v := crashtest.FromBytes(content)
	f, err := ext4.Open(v, ext4.Options{})
	must(t, err)
	op := &ext4.Op{Now: testNow, Privileged: true}
	a, err := f.Create(op, ext4.Root, "file", 0o644)
	must(t, err)
	const per = 4096 / 4
	for _, block := range []int64{12, 12 + per, 12 + per + per*per} {
		_, err := f.WriteAt(op, a.Ino, []byte("data"), block<<12)
		must(t, err)
	}
	must(t, f.Close())
	must(t, v.WriteFile(path))
	levels := regexp.MustCompile(`\((?:IND|DIND|TIND)\):(\d+)`).FindAllStringSubmatch(crashtest.Debugfs(t, path, false, "stat /file"), -1)
	if len(levels) != 1+2+3 {
		t.Fatalf("%d blocks of pointers: %v", len(levels), levels)
	}
	p := make([]byte, 4096)
	for k := 3; k < 6; k++ { // the triple one, and what is below it
		at, err := strconv.ParseInt(levels[k][1], 10, 64)
		must(t, err)
		_, err = v.ReadAt(p, at<<12)
		must(t, err)
		for o := 4; o < len(p); o += 4 {
			binary.LittleEndian.PutUint32(p[o:], binary.LittleEndian.Uint32(p))
		}
		_, err = v.WriteAt(p, at<<12)
		must(t, err)
	}
	if r, err := ext4.Check(v); err != nil || r.Clean() {
		t.Fatalf("found %+v, %v", r, err)
	}
	f, err = ext4.Open(v, ext4.Options{})
	must(t, err)
	if err := f.Unlink(op, ext4.Root, "file"); err == nil {
		t.Fatal("blocks were freed again and again")
	}
	_ = f.Close() // reports the damage again
}
