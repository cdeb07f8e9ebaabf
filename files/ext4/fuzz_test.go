package ext4_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// fuzzBases are a small file system with something of everything, with
// checksums and without, which lets damage get further. Each is made once.
var fuzzBases = [2]func() *crashtest.Image{
	sync.OnceValue(func() *crashtest.Image { return makeFuzzBase(true) }),
	sync.OnceValue(func() *crashtest.Image { return makeFuzzBase(false) }),
}

func makeFuzzBase(checksums bool) *crashtest.Image {
	v := crashtest.NewImage(4 << 20)
	if err := ext4.Format(v, ext4.FormatOptions{BlockSize: 1024, Now: testNow, Zeroed: true, UUID: [16]byte{1}, HashSeed: [16]byte{1}}); err != nil {
		panic(err)
	}
	if !checksums {
		withoutChecksums(v)
	}
	open := func() *ext4.FS {
		f, err := ext4.Open(v, ext4.Options{Now: func() time.Time { return testNow }})
		if err != nil {
			panic(err)
		}
		return f
	}
	if _, _, err := faultScript(open()); err != nil { // it closes at its end
		panic(err)
	}
	f := open()
	op := &ext4.Op{Now: testNow, Privileged: true}
	for i := range 60 {
		if _, err := f.Create(op, ext4.Root, fmt.Sprintf("a rather long name so that blocks fill %d", i), 0o644); err != nil {
			panic(err)
		}
	}
	if err := f.Close(); err != nil {
		panic(err)
	}
	return v
}

// damage applies edits of 4 bytes each: where (3) and what (1).
func damage(v *crashtest.Image, edits []byte) error {
	p := make([]byte, 1024)
	for ; len(edits) >= 4; edits = edits[4:] {
		at := (int64(edits[0]) | int64(edits[1])<<8 | int64(edits[2])<<16) % v.Size()
		if _, err := v.ReadAt(p, at&^1023); err != nil {
			return err
		}
		p[at&1023] ^= edits[3]
		if _, err := v.WriteAt(p, at&^1023); err != nil {
			return err
		}
	}
	return nil
}

// changeAll changes what it finds, whatever comes of it.
func changeAll(fs *ext4.FS) {
	op := &ext4.Op{Now: testNow, Privileged: true}
	var names []string
	_ = fs.ReadDir(ext4.Root, 0, func(e ext4.DirEntry) bool { names = append(names, e.Name); return len(names) < 200 })
	for k, n := range names {
		ino, err := fs.Lookup(ext4.Root, n)
		if err != nil {
			continue
		}
		_, _ = fs.WriteAt(op, ino, make([]byte, 3000), int64(k*900))
		_ = fs.SetXattr(op, ino, "user.x", make([]byte, 200), 0)
		switch k % 4 {
		case 0:
			_ = fs.Unlink(op, ext4.Root, n)
		case 1:
			_ = fs.Rename(op, ext4.Root, n, ext4.Root, n+"2", 0)
		case 2:
			_ = fs.Truncate(op, ino, 100)
		case 3:
			_ = fs.Rmdir(op, ext4.Root, n)
		}
	}
	for k := range 20 {
		_, _ = fs.Mkdir(op, ext4.Root, fmt.Sprintf("new directory %d", k), 0o755)
	}
	_ = fs.Sync()
}

// withoutChecksums takes the checksums of metadata from a new file system of
// one group.
func withoutChecksums(v *crashtest.Image) {
	p := make([]byte, 4096) // superblock and descriptors, in blocks of 1 KiB
	if _, err := v.ReadAt(p, 0); err != nil {
		panic(err)
	}
	sb, err := disk.DecodeSuperblock(p[disk.SuperblockOffset : disk.SuperblockOffset+disk.SuperblockSize])
	if err != nil || sb.Groups() != 1 {
		panic(err)
	}
	raw := p[2048 : 2048+sb.GroupDescSize()]
	g := disk.DecodeGroup(raw)
	g.Flags, g.ItableUnused = 0, 0
	sb.FeatureROCompat &^= disk.ROCompatMetadataCsum
	g.Encode(raw, sb, 0)
	sb.Encode(p[disk.SuperblockOffset : disk.SuperblockOffset+disk.SuperblockSize])
	if _, err := v.WriteAt(p, 0); err != nil {
		panic(err)
	}
}

// FuzzImage damages an image and uses it, reading and writing: nothing may
// panic or go on for ever.
func FuzzImage(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add([]byte{}, uint8(1))
	f.Add([]byte{0, 5, 0, 1, 0x20, 8, 0, 0xFF}, uint8(1))
	f.Fuzz(func(t *testing.T, edits []byte, base uint8) {
		v := fuzzBases[base%2]().Clone()
		if err := damage(v, edits); err != nil {
			t.Fatal(err)
		}
		_, _ = ext4.Check(v)
		fs, err := ext4.Open(v, ext4.Options{Now: func() time.Time { return testNow }})
		if err != nil {
			return
		}
		defer fs.Close()
		visitAll(fs)
		changeAll(fs)
	})
}

// FuzzOperations turns bytes into operations on a model and a file system.
func FuzzOperations(f *testing.F) {
	f.Add(uint64(1), uint16(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		m := newModel(t, seed, 8<<20, ext4.FormatOptions{BlockSize: 1024})
		m.long = seed&1 != 0
		for range steps % 2000 {
			m.step()
		}
		m.compare()
		m.remount()
		m.compare()
		if err := m.f.Close(); err != nil {
			t.Fatal(err)
		}
		mustBeClean(t, m.volume)
	})
}
