package jbd2_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/internal/testenv"
)

// dirtyToys are images whose logs have wrapped and hold several transactions.
var dirtyToys = sync.OnceValue(func() (images []*crashtest.Image) {
	for _, f := range featureSets {
		t := &testing.T{}
		m := newToyImage(t)
		y, err := openToy(t, m, 7, f.Options)
		if err != nil {
			panic(err)
		}
		for i := range 1000 {
			if err := y.operate(); err != nil {
				panic(err)
			}
			if i%10 == 0 {
				if err := y.journal.CommitRunning(); err != nil {
					panic(err)
				}
			}
		}
		images = append(images, m)
	}
	return images
})

// replayDamaged requires of a damaged journal that it is replayed or refused
// with a typed error, whatever is in it.
func replayDamaged(t *testing.T, m *crashtest.Image, salvage bool) error {
	t.Helper()
	_, err := jbd2.Replay(toyLog(m), jbd2.ReplayOptions{Blocks: toyVolume, Salvage: salvage})
	var format *jbd2.FormatError
	var sum *jbd2.ChecksumError
	if err != nil && !errors.As(err, &format) && !errors.As(err, &sum) {
		t.Fatalf("damage was reported as: %v", err)
	}
	return err
}

// TestDamagedJournals overwrites words of journals, with checksums made right
// again or not, mostly in the blocks that steer recovery.
func TestDamagedJournals(t *testing.T) {
	testenv.Unraced(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	rounds := 3000
	if os.Getenv("QUINTET_LONG") != "" {
		rounds = 300_000
	}
	refused := 0
	for range rounds {
		m := dirtyToys()[r.IntN(len(featureSets))].Clone()
		for range 1 + r.IntN(4) {
			damageWord(t, m, r)
		}
		if replayDamaged(t, m, r.IntN(2) == 0) != nil {
			refused++
		}
	}
	if refused == 0 || refused == rounds {
		t.Errorf("%d of %d damaged journals were refused", refused, rounds)
	}
	t.Logf("%d of %d refused", refused, rounds)
}

func damageWord(t *testing.T, m *crashtest.Image, r *rand.Rand) {
	p := make([]byte, toyBlockSize)
	block := int64(0)
	for try := 0; ; try++ {
		if _, err := m.ReadAt(p, block*toyBlockSize); err != nil {
			t.Fatal(err)
		}
		if try > 0 && binary.BigEndian.Uint32(p) == 0xC03B3998 || try > 100 || r.IntN(8) == 0 {
			break
		}
		block = r.Int64N(toyJournal)
	}
	at := r.IntN(toyBlockSize/4) * 4
	if r.IntN(2) == 0 {
		at = r.IntN(16) * 4 // the headers
	}
	values := []uint32{0, 1, 0xFFFFFFFF, r.Uint32(), uint32(r.IntN(toyVolume)), 1 << r.IntN(32), binary.BigEndian.Uint32(p[at:]) + 1}
	binary.BigEndian.PutUint32(p[at:], values[r.IntN(len(values))])
	if r.IntN(2) == 0 {
		jbd2.Reseal(p, [16]byte{1, 2, 3})
	}
	if _, err := m.WriteAt(p, block*toyBlockSize); err != nil {
		t.Fatal(err)
	}
}

// FuzzReplay takes its input for patches of a journal: which image, then four
// bytes of place and four of content each, checksums made right when the place
// says so.
func FuzzReplay(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0x1C, 0, 0, 0, 5})
	f.Add([]byte{1, 0x80, 0, 4, 0x0C, 0xFF, 0xFF, 0xFF, 0xFF})
	f.Add([]byte{3, 0, 0, 8, 4, 0, 0, 0, 5, 0, 0, 8, 12, 0, 0, 4, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) == 0 {
			return
		}
		m := dirtyToys()[int(input[0])%len(featureSets)].Clone()
		p := make([]byte, toyBlockSize)
		for input = input[1:]; len(input) >= 8; input = input[8:] {
			place := binary.BigEndian.Uint32(input)
			at := int64(place&0x7FFFFFFF) % (toyJournal * toyBlockSize) &^ 3
			block := at / toyBlockSize * toyBlockSize
			if _, err := m.ReadAt(p, block); err != nil {
				t.Fatal(err)
			}
			copy(p[at-block:], input[4:8])
			if place>>31 != 0 {
				jbd2.Reseal(p, [16]byte{1, 2, 3})
			}
			if _, err := m.WriteAt(p, block); err != nil {
				t.Fatal(err)
			}
		}
		_ = replayDamaged(t, m, false)
	})
}

// TestDamagedDataIsRefused: with checksums, a lost or changed block of a
// committed transaction is found before anything is written.
func TestDamagedDataIsRefused(t *testing.T) {
	image := newToyImage(t)
	y, err := openToy(t, image, 1, jbd2.Options{Checksums: true})
	if err != nil {
		t.Fatal(err)
	}
	y.set(0, 1, true)
	y.set(0, 2, true)
	y.set(1, 3, true)
	// Superblock, then thrice a descriptor, a data and a commit block.
	for block, structure := range map[int64]string{1: "", 4: "descriptor block", 5: "data block", 6: "commit block"} {
		m := image.Clone()
		p := make([]byte, toyBlockSize)
		if _, err := m.ReadAt(p, block*toyBlockSize); err != nil {
			t.Fatal(err)
		}
		p[500] ^= 1
		if _, err := m.WriteAt(p, block*toyBlockSize); err != nil {
			t.Fatal(err)
		}
		before := m.Bytes()
		_, err := jbd2.Replay(toyLog(m), jbd2.ReplayOptions{Blocks: toyVolume})
		var sum *jbd2.ChecksumError
		if !errors.As(err, &sum) || structure != "" && (sum.Structure != structure || sum.Block != uint32(block)) {
			t.Fatalf("damage in journal block %d was reported as %v", block, err)
		}
		if string(m.Bytes()) != string(before) {
			t.Fatalf("damage in journal block %d was met, and yet something was written", block)
		}
		// Told to salvage, it keeps what it can, and says what it could not.
		if _, err := jbd2.Replay(toyLog(m), jbd2.ReplayOptions{Blocks: toyVolume, Salvage: true}); !errors.As(err, &sum) {
			t.Fatalf("salvage: %v", err)
		}
		want := map[int64]uint64{1: 0, 4: 1, 5: 1, 6: 1}[block]
		if got, _ := valueAt(m, 0); got != want {
			t.Fatalf("after salvage from damage in journal block %d, block 0 holds %d, want %d", block, got, want)
		}
	}
}

// TestFastCommitsAreNoticed if there are any, and stay in force until they are superseded: a
// journal that merely has room for them is replayed.
func TestFastCommitsAreNoticed(t *testing.T) {
	testenv.Unraced(t)
	path := ext4test.Mkfs(t, 32<<20, "-O", "fast_commit")
	dir, unmount := ext4test.Mount(t, path, "")
	defer unmount()
	churn(t, rand.New(rand.NewPCG(1, 1)), dir, 5)
	sawFast := false
	for i := range 20 {
		f, err := os.Create(dir + "/file" + string(rune('a'+i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		v := openVolume(t, path)
		volume := crashtest.FromBytes(content)
		log := v.log(volume)
		first, err := jbd2.Replay(log, jbd2.ReplayOptions{Blocks: v.blocks})
		if err != nil {
			t.Fatal(err)
		}
		if !first.Fast {
			continue
		}
		sawFast = true
		if again, err := jbd2.Replay(log, jbd2.ReplayOptions{Blocks: v.blocks}); err != nil || !again.Fast || again.End != first.End || again.Blocks != 0 {
			t.Fatalf("replayed again: %+v, %v; at first %+v", again, err, first)
		}
		// As many blocks as fit the log, or more: they go home then, too.
		blocks, count := map[uint64][]byte{}, uint64(1)
		if i%2 == 0 {
			count = uint64(log.Blocks())
		}
		for home := v.blocks - 1; uint64(len(blocks)) < count; home-- {
			if slices.Contains(v.journal, home) {
				continue
			}
			blocks[home] = bytes.Repeat([]byte{byte(i + 1)}, v.blockSize)
		}
		if err := jbd2.Supersede(log, blocks); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, v.blockSize)
		for home, want := range blocks {
			if _, err := volume.ReadAt(p, int64(home)*int64(v.blockSize)); err != nil || !bytes.Equal(p, want) {
				t.Fatalf("block %d of %d is not home: %v", home, count, err)
			}
		}
		if last, err := jbd2.Replay(log, jbd2.ReplayOptions{Blocks: v.blocks}); err != nil || last.Fast {
			t.Fatalf("superseded: %+v, %v", last, err)
		}
	}
	if !sawFast {
		t.Error("the kernel made no fast commit, or it was not noticed")
	}
}
