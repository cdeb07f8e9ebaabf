package jbd2_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/internal/testenv"
)

// runs joins adjacent blocks.
func runs(blocks []uint64) (r []jbd2.Run) {
	for _, b := range blocks {
		if n := len(r); n > 0 && r[n-1].Start+uint64(r[n-1].Count) == b {
			r[n-1].Count++
			continue
		}
		r = append(r, jbd2.Run{Start: b, Count: 1})
	}
	return r
}

// volume is an ext4 image whose journal is being tested.
type volume struct {
	path      string
	blockSize int
	blocks    uint64
	journal   []uint64
}

func openVolume(t testing.TB, path string) volume {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var sb [1024]byte
	if _, err := f.ReadAt(sb[:], 1024); err != nil {
		t.Fatal(err)
	}
	return volume{
		path:      path,
		blockSize: 1024 << binary.LittleEndian.Uint32(sb[24:]),
		blocks:    uint64(binary.LittleEndian.Uint32(sb[4:])),
		journal:   crashtest.Blocks(t, path, "<8>"),
	}
}

// log returns the journal of a copy of the volume.
func (v *volume) log(d buffer.Device) *jbd2.Log {
	return &jbd2.Log{Device: d, BlockSize: v.blockSize, Runs: runs(v.journal)}
}

// compare requires that two images are equal but for the superblocks of the
// file system (which the replay is not about) and of the journal, of which it
// compares the fields that say where the log is.
func (v *volume) compare(t *testing.T, ours, theirs []byte) {
	t.Helper()
	at := int(v.journal[0]) * v.blockSize
	if a, b := ours[at+0x18:at+0x20], theirs[at+0x18:at+0x20]; !bytes.Equal(a, b) {
		t.Errorf("journal superblock: sequence and start are %x, e2fsck's %x", a, b)
	}
	for _, p := range [][]byte{ours, theirs} {
		clear(p[1024:2048])
		clear(p[at : at+1024])
	}
	differ := 0
	for b := 0; b*v.blockSize < len(ours); b++ {
		x, y := ours[b*v.blockSize:(b+1)*v.blockSize], theirs[b*v.blockSize:(b+1)*v.blockSize]
		if !bytes.Equal(x, y) {
			if differ++; differ < 10 {
				t.Errorf("block %d differs from e2fsck's", b)
			}
		}
	}
}

// replayBoth replays one image with both, compares, and returns what ours did.
func replayBoth(t *testing.T, image []byte) jbd2.ReplayResult {
	t.Helper()
	path := filepath.Join(t.TempDir(), "theirs")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	v := openVolume(t, path)
	ours := crashtest.FromBytes(image)
	result, err := jbd2.Replay(v.log(ours), jbd2.ReplayOptions{Blocks: v.blocks})
	if err != nil {
		t.Fatalf("replay: %v", err)
	}
	out, code := ext4test.Run(t, "e2fsck", "-p", "-E", "journal_only", path)
	if code > 1 {
		t.Fatalf("e2fsck: exit code %d\n%s", code, out)
	}
	theirs, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v.compare(t, ours.Bytes(), theirs)
	if t.Failed() {
		t.Logf("replayed %+v; e2fsck said: %s", result, out)
	}
	return result
}

// churn changes a mounted file system at random: many small directories and
// files, made, filled, renamed and removed, so that blocks are logged, revoked
// and used again.
func churn(t *testing.T, r *rand.Rand, dir string, steps int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for range steps {
		d := filepath.Join(dir, fmt.Sprintf("d%d", r.IntN(8)))
		switch r.IntN(10) {
		case 0:
			must(os.RemoveAll(d))
		case 1, 2:
			must(os.MkdirAll(d, 0o755))
			for i := range r.IntN(40) {
				must(os.WriteFile(filepath.Join(d, fmt.Sprintf("a rather long name of a file, so that directories grow %d", i)), nil, 0o600))
			}
		case 3, 4:
			must(os.MkdirAll(d, 0o755))
			p := make([]byte, r.IntN(200_000))
			// Data that looks like journal blocks must not confuse anybody.
			for i := 0; i+4 <= len(p); i += 1024 {
				binary.BigEndian.PutUint32(p[i:], 0xC03B3998)
			}
			must(os.WriteFile(filepath.Join(d, "data"), p, 0o600))
		case 5, 6:
			must(os.MkdirAll(d, 0o755))
			f, err := os.Create(filepath.Join(d, "sparse"))
			must(err)
			for range 50 {
				_, err = f.WriteAt([]byte("x"), r.Int64N(1<<30))
				must(err)
			}
			must(f.Sync())
			must(f.Close())
		case 7:
			if f, err := os.Open(d); err == nil {
				must(f.Sync())
				must(f.Close())
			}
		default:
			_ = os.Remove(filepath.Join(d, "sparse"))
		}
	}
	f, err := os.Open(dir)
	must(err)
	must(f.Sync())
	must(f.Close())
}

var variants = []struct {
	name  string
	mkfs  []string
	mount string
}{
	{"default", nil, "rw"},
	{"4k", []string{"-b", "4096"}, "rw"},
	{"1k", []string{"-b", "1024", "-J", "size=2"}, "rw"},
	{"2k", []string{"-b", "2048"}, "rw"},
	{"32bit", []string{"-O", "^64bit,^metadata_csum"}, "rw"},
	{"32bit summed", []string{"-O", "^64bit,metadata_csum"}, "rw"},
	{"checksum v1", []string{"-O", "^metadata_csum"}, "journal_checksum"},
	{"async commit", []string{"-b", "1024"}, "data=writeback,journal_async_commit"},
	{"async commit v1", []string{"-O", "^64bit,^metadata_csum"}, "data=writeback,journal_async_commit"},
	{"journalled data", []string{"-b", "1024", "-J", "size=8"}, "data=journal"},
	{"indirect blocks", []string{"-b", "1024", "-O", "^extent,^64bit"}, "rw"},
}

// TestReplayEqualsE2fsck takes images away under the kernel's feet and replays
// them with both.
func TestReplayEqualsE2fsck(t *testing.T) {
	testenv.Unraced(t)
	seeds, copies := 1, 3
	if os.Getenv("QUINTET_LONG") != "" {
		seeds = 20
	}
	var total jbd2.ReplayResult
	for _, variant := range variants {
		t.Run(variant.name, func(t *testing.T) {
			for range seeds {
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				r := rand.New(rand.NewPCG(seed, 0))
				path := ext4test.Mkfs(t, 48<<20, variant.mkfs...)
				dir, unmount := ext4test.Mount(t, path, variant.mount)
				for range copies {
					churn(t, r, dir, 10+r.IntN(60))
					image, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					result := replayBoth(t, image)
					t.Logf("%+v", result)
					total.Blocks += result.Blocks
					total.Revoked += result.Revoked
				}
				unmount()
			}
		})
	}
	if total.Blocks == 0 || total.Revoked == 0 {
		t.Errorf("the images held nothing to replay (%d blocks) or to revoke (%d)", total.Blocks, total.Revoked)
	}
}

// TestReplayOfDebugfsJournals replays journals that e2fsprogs wrote: blocks that
// need escaping, blocks revoked and logged again, tags of both widths.
func TestReplayOfDebugfsJournals(t *testing.T) {
	for _, variant := range [][]string{
		{"-b", "1024", "-O", "64bit,metadata_csum"},
		{"-b", "4096", "-O", "^64bit,metadata_csum"},
		{"-b", "2048", "-O", "64bit,^metadata_csum"},
		{"-b", "1024", "-O", "^64bit,^metadata_csum"},
	} {
		// Not version 1: debugfs sums up revoke blocks there, and recovery, its
		// own as well, does not.
		for _, sums := range []string{"", " -c -v 2", " -c -v 3"} {
			if sums != "" && strings.Contains(variant[3], "^metadata_csum") {
				continue // what debugfs writes then is version 1
			}
			t.Run(fmt.Sprint(variant, sums), func(t *testing.T) {
				path := ext4test.Mkfs(t, 16<<20, variant...)
				blockSize := openVolume(t, path).blockSize
				content := make([]byte, 8*blockSize)
				for i := range content {
					content[i] = byte(i / blockSize)
				}
				binary.BigEndian.PutUint32(content, 0xC03B3998)
				binary.BigEndian.PutUint32(content[3*blockSize:], 0xC03B3998)
				file := filepath.Join(t.TempDir(), "content")
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
				crashtest.Debugfs(t, path, true,
					"jo"+sums, "jw -b 3000-3007 "+file, "jc",
					"jo"+sums, "jw -r 3001-3003", "jc",
					"jo"+sums, "jw -b 3002 "+file, "jw -r 3007", "jc")
				before, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				result := replayBoth(t, before)
				if result.Blocks == 0 || result.Revoked == 0 {
					t.Errorf("debugfs left nothing to replay: %+v", result)
				}
			})
		}
	}
}
