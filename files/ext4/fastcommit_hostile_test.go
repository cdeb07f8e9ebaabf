package ext4_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
)

// fastArea is an image with the place of its fast commits.
type fastArea struct {
	content []byte
	at      int64 // of the area's first block, in bytes
	size    int   // of a block
	tid     uint32
}

// newFastArea is what the kernel leaves when it is killed after a fast commit.
func newFastArea(t *testing.T) *fastArea {
	t.Helper()
	path := ext4test.Mkfs(t, 16<<20, "-b", "1024", "-O", "fast_commit")
	dir, unmount := ext4test.Mount(t, path, "")
	defer unmount()
	w := &fastWriter{t: t, dir: dir, rng: rand.New(rand.NewPCG(1, 1)), dirs: []string{"."}}
	for range 10 {
		must(t, os.WriteFile(dir+"/file", make([]byte, 5000), 0o644))
		w.syncAll()
		if died := copyOf(t, path); pendingFast(t, died) {
			content, err := os.ReadFile(died)
			must(t, err)
			return placeOfFast(t, content)
		}
	}
	t.Fatal("the kernel made no fast commits")
	return nil
}

func placeOfFast(t *testing.T, content []byte) *fastArea {
	t.Helper()
	_, log := journalOf(t, content)
	sb, err := log.Load()
	must(t, err)
	n := sb.Blocks - sb.FastCommitBlocks + 1
	for _, r := range log.Runs {
		if n < r.Count {
			a := &fastArea{content, int64(r.Start+uint64(n)) * int64(log.BlockSize), log.BlockSize, 0}
			a.tid = binary.LittleEndian.Uint32(content[a.at+8:])
			return a
		}
		n -= r.Count
	}
	t.Fatal("the area is beyond the journal")
	return nil
}

// with is the image with other tags in the area, completed.
func (a *fastArea) with(t *testing.T, tags ...[]byte) *image.Memory {
	t.Helper()
	le := binary.LittleEndian
	p := le.AppendUint32([]byte{9, 0, 8, 0, 0, 0, 0, 0}, a.tid)
	for _, tag := range tags {
		p = append(p, tag...)
	}
	room := a.size - len(p) - 4
	if room < 8 {
		t.Fatalf("%d bytes of tags do not fit", len(p))
	}
	p = le.AppendUint16(le.AppendUint16(p, 8), uint16(room))
	p = le.AppendUint32(p, a.tid)
	p = le.AppendUint32(p, disk.CRC32C(0, p))
	v := image.NewMemory(int64(len(a.content)))
	must(t, v.Load(a.content))
	block := make([]byte, a.size)
	copy(block, p)
	_, err := v.WriteAt(block, a.at)
	must(t, err)
	return v
}

// fastTag encodes a tag of words and a name.
func fastTag(kind disk.FastKind, name string, words ...uint32) []byte {
	le := binary.LittleEndian
	p := le.AppendUint16(nil, uint16(kind))
	p = le.AppendUint16(p, uint16(4*len(words)+len(name)))
	for _, w := range words {
		p = le.AppendUint32(p, w)
	}
	return append(p, name...)
}

// fastInode encodes an inode.
func fastInode(ino uint32, d disk.Inode) []byte {
	slot := make([]byte, 160)
	d.ExtraIsize = 32
	d.Encode(slot, &disk.Superblock{InodeSize: 256}, ino)
	return fastTag(disk.FastInode, string(slot), ino)
}

// TestFastCommitsByHand replays what the kernel does not say, or what it says and loses
// itself.
func TestFastCommitsByHand(t *testing.T) {
	testenv.Unraced(t)
	testenv.Unraced(t)
	a := newFastArea(t)
	file := disk.Inode{Mode: disk.ModeRegular | 0o644, Links: 1, Flags: disk.FlagExtents, UID: 5, Size: 3000}
	link := disk.Inode{Mode: disk.ModeSymlink | 0o777, Links: 1, Size: 6}
	copy(link.Block[:], "target")
	nameless := file
	nameless.Links = 0
	for _, c := range []struct {
		name   string
		tags   [][]byte
		damage bool
		found  string // a path that is there afterwards
	}{
		{"a symbolic link", [][]byte{fastInode(40, link), fastTag(disk.FastCreate, "link", 2, 40)}, false, "/link"},
		{"a file with blocks", [][]byte{fastInode(40, file), fastTag(disk.FastAddRange, "", 40, 0, 3, 16000), fastTag(disk.FastCreate, "new", 2, 40)}, false, "/new"},
		{"a file that had no name left", [][]byte{fastInode(40, nameless)}, false, ""},
		{"a name of what is not there", [][]byte{fastTag(disk.FastLink, "none", 2, 60)}, false, ""},
		{"no such name", [][]byte{fastTag(disk.FastUnlink, "none", 2, 11)}, false, "/lost+found"},
		{"another's name", [][]byte{fastTag(disk.FastUnlink, "file", 2, 11)}, false, "/file"},
		{"blocks of what is not there", [][]byte{fastTag(disk.FastAddRange, "", 60, 0, 3, 16000)}, false, ""},
		{"blocks in use", [][]byte{fastInode(40, file), fastTag(disk.FastAddRange, "", 40, 0, 3, 1), fastTag(disk.FastCreate, "new", 2, 40)}, true, ""},
		{"blocks beyond the volume", [][]byte{fastTag(disk.FastAddRange, "", 12, 0, 3, 16382)}, true, ""},
		{"blocks of a symbolic link in its inode", [][]byte{fastInode(40, link), fastTag(disk.FastAddRange, "", 40, 0, 3, 16000)}, true, ""},
		{"the journal", [][]byte{fastTag(disk.FastDelRange, "", 8, 0, 1<<31)}, true, ""},
		{"the journal's name", [][]byte{fastTag(disk.FastLink, "journal", 2, 8)}, true, ""},
		{"inode 0", [][]byte{fastTag(disk.FastUnlink, "file", 2, 0)}, true, ""},
		{"an inode beyond the last", [][]byte{fastTag(disk.FastLink, "file", 2, 1<<31)}, true, ""},
		{"a name with a slash", [][]byte{fastTag(disk.FastLink, "a/b", 2, 12)}, true, ""},
		{"dots", [][]byte{fastTag(disk.FastLink, "..", 2, 12)}, true, ""},
		{"a name in a file", [][]byte{fastTag(disk.FastLink, "name", 12, 13)}, true, ""},
		{"a directory's second name", [][]byte{fastTag(disk.FastLink, "name", 2, 11)}, true, ""},
		{"a directory in itself", [][]byte{fastTag(disk.FastLink, "name", 11, 11)}, true, ""},
		{"the root's name", [][]byte{fastTag(disk.FastCreate, "root", 11, 2)}, true, ""},
		{"a directory that becomes a file", [][]byte{fastInode(11, file)}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := a.with(t, c.tags...)
			before := v.Clone()
			f, err := ext4.Open(v, ext4.Options{})
			if c.damage {
				if !errors.Is(err, disk.ErrCorrupt) {
					t.Fatalf("opened: %v", err)
				}
				if _, err := ext4.Open(before, ext4.Options{ReadOnly: true}); !errors.Is(err, disk.ErrCorrupt) {
					t.Errorf("opened for reading: %v", err)
				}
				return
			}
			must(t, err)
			if c.found != "" {
				ino, err := f.Walk(c.found, false)
				must(t, err)
				if c.found == "/link" {
					if target, err := f.Readlink(ino); err != nil || target != "target" {
						t.Errorf("leads to %q, %v", target, err)
					}
				}
			}
			must(t, f.Close())
			mustBeClean(t, v)
		})
	}
}

// TestFastCommitsThatAreNotComplete leaves alone what was not acknowledged.
func TestFastCommitsThatAreNotComplete(t *testing.T) {
	testenv.Unraced(t)
	a := newFastArea(t)
	unlink := fastTag(disk.FastUnlink, "lost+found", 2, 11)
	for name, at := range map[string]int64{"a tag": 20, "the end's transaction": int64(12+len(unlink)) + 4, "the checksum": int64(12+len(unlink)) + 8} {
		v := a.with(t, unlink)
		block := make([]byte, a.size)
		_, err := v.ReadAt(block, a.at)
		must(t, err)
		block[at] ^= 0x10
		_, err = v.WriteAt(block, a.at)
		must(t, err)
		f, err := ext4.Open(v, ext4.Options{})
		must(t, err)
		if _, err := f.Walk("/lost+found", false); err != nil {
			t.Errorf("with %s torn: %v", name, err)
		}
		must(t, f.Close())
		mustBeClean(t, v)
	}
}

// TestHostileFastCommits changes tags at random, their checksum being right: whatever they
// say, there is an error or a file system.
func TestHostileFastCommits(t *testing.T) {
	testenv.Unraced(t)
	testenv.Unraced(t)
	a := newFastArea(t)
	rounds := 400
	if os.Getenv("QUINTET_LONG") != "" {
		rounds = 20_000
	}
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	few := func() uint32 {
		return []uint32{2, 11, 12, 13, 14, 20, 40, uint32(rng.IntN(60)), rng.Uint32()}[rng.IntN(9)]
	}
	opened := 0
	for range rounds {
		var tags [][]byte
		for range 1 + rng.IntN(5) {
			switch rng.IntN(6) {
			case 0:
				d := disk.Inode{Mode: []uint16{0x8000, 0x8000, 0x4000, 0xA000, 0x6000, uint16(rng.Uint32())}[rng.IntN(6)] | 0o600,
					Links: uint16(rng.IntN(3)), Flags: []uint32{disk.FlagExtents, 0, rng.Uint32()}[rng.IntN(3)], Size: uint64(rng.IntN(9000))}
				tags = append(tags, fastInode(few(), d)[:4+4+128+rng.IntN(33)])
				tag := tags[len(tags)-1]
				binary.LittleEndian.PutUint16(tag[2:], uint16(len(tag)-4))
			case 1:
				tags = append(tags, fastTag(disk.FastAddRange, "", few(), few(), uint32(1+rng.IntN(20)), uint32(rng.IntN(17_000))))
			case 2:
				tags = append(tags, fastTag(disk.FastDelRange, "", few(), few(), few()))
			default:
				name := []string{"file", "last", "new", "lost+found", fmt.Sprint(few())}[rng.IntN(5)]
				tags = append(tags, fastTag(disk.FastCreate+disk.FastKind(rng.IntN(3)), name, few(), few()))
			}
		}
		v := a.with(t, tags...)
		f, err := ext4.Open(v, ext4.Options{})
		if err != nil {
			var unsupported *disk.UnsupportedError
			if !errors.Is(err, disk.ErrCorrupt) && ext4.KindOf(err) == 0 && !errors.As(err, &unsupported) {
				t.Fatalf("%x: %v", tags, err)
			}
			continue
		}
		opened++
		must(t, f.Close())
		_, err = ext4.Check(v)
		must(t, err)
	}
	t.Logf("%d of %d opened", opened, rounds)
}
