package ext4_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/internal/testenv"
)

// quotaVolumes are the ways to have quotas counted.
var quotaVolumes = []struct {
	name  string
	args  []string
	steps []string // of tune2fs, once there are files
	kinds []ext4.QuotaKind
}{
	{"users and groups", []string{"-O", "quota"}, nil, []ext4.QuotaKind{ext4.UserQuota, ext4.GroupQuota}},
	{"projects too", []string{"-O", "quota,project"}, nil, []ext4.QuotaKind{ext4.UserQuota, ext4.GroupQuota, ext4.ProjectQuota}},
	{"all, 1k", []string{"-b", "1024", "-O", "quota,project"}, nil, []ext4.QuotaKind{ext4.UserQuota, ext4.GroupQuota, ext4.ProjectQuota}},
	{"all, 2k, file of orphans", []string{"-b", "2048", "-O", "quota,project,orphan_file"}, nil, []ext4.QuotaKind{ext4.UserQuota, ext4.GroupQuota, ext4.ProjectQuota}},
	{"only users", []string{"-O", "quota", "-E", "quotatype=usrquota"}, nil, []ext4.QuotaKind{ext4.UserQuota}},
	{"only groups, 1k", []string{"-b", "1024", "-O", "quota", "-E", "quotatype=grpquota"}, nil, []ext4.QuotaKind{ext4.GroupQuota}},
	{"only projects", []string{"-O", "quota,project", "-E", "quotatype=prjquota"}, nil, []ext4.QuotaKind{ext4.ProjectQuota}},
	{"without extents", []string{"-b", "1024", "-I", "128", "-O", "quota,^extent,^64bit,^metadata_csum"}, nil, []ext4.QuotaKind{ext4.UserQuota, ext4.GroupQuota}},
	{"without a journal", []string{"-O", "quota,project,^has_journal"}, nil, []ext4.QuotaKind{ext4.UserQuota, ext4.GroupQuota, ext4.ProjectQuota}},
	{"switched on", nil, []string{"-O quota"}, []ext4.QuotaKind{ext4.UserQuota, ext4.GroupQuota}},
	{"switched on for projects", nil, []string{"-O project,quota", "-Q prjquota"}, []ext4.QuotaKind{ext4.UserQuota, ext4.GroupQuota, ext4.ProjectQuota}},
	{"projects that nobody counts", []string{"-O", "project"}, nil, nil},
}

// TestQuotasAreCountedAsByE2fsck does random operations for many owners on each of them.
// e2fsck counts anew and must find what the files say; so must what we say of them.
func TestQuotasAreCountedAsByE2fsck(t *testing.T) {
	testenv.Unraced(t)
	steps := 500
	if os.Getenv("QUINTET_LONG") != "" {
		steps = 8000
	}
	for _, v := range quotaVolumes {
		t.Run(v.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			path := ext4test.Mkfs(t, 48<<20, append(v.args, "-N", "8192")...)
			rng := rand.New(rand.NewPCG(seed, 1))
			if v.steps != nil {
				f, done := openPath(t, path)
				ownersAtRandom(t, f, rng, steps/4)
				done()
				for _, s := range v.steps {
					succeed(t, "tune2fs", append(strings.Fields(s), path)...)
				}
				ext4test.Fsck(t, path)
			}
			for range 3 {
				f, done := openPath(t, path)
				ownersAtRandom(t, f, rng, steps/3)
				done()
				ext4test.Fsck(t, path)
				if r := checkPath(t, path); !r.Clean() {
					t.Fatalf("%d problems: %v", r.Count, r.Problems[:min(len(r.Problems), 5)])
				}
			}
			f, done := openPath(t, path)
			for kind := ext4.UserQuota; kind <= ext4.ProjectQuota; kind++ {
				counted := false
				for _, k := range v.kinds {
					counted = counted || k == kind
				}
				if counted {
					sameAsListed(t, f, kind, succeed(t, "debugfs", "-R", "list_quota "+kind.String(), path))
				} else if _, err := f.Quota(kind, 0); ext4.KindOf(err) != ext4.KindNotSupported {
					t.Errorf("%v quotas: %v", kind, err)
				}
			}
			done()
		})
	}
}

// quotaLine is a line of debugfs's list: an id, bytes in use.
var quotaLine = regexp.MustCompile(`(?m)^\s*(\d+)\s+(\d+)\s+\d+\s+\d+\s+(\d+)`)

func sameAsListed(t *testing.T, f *ext4.FS, kind ext4.QuotaKind, list string) {
	t.Helper()
	lines := quotaLine.FindAllStringSubmatch(list, -1)
	if len(lines) < 2 {
		t.Errorf("debugfs lists %d %v quotas:\n%s", len(lines), kind, list)
	}
	for _, m := range lines {
		id, err := strconv.ParseUint(m[1], 10, 32)
		must(t, err)
		q, err := f.Quota(kind, uint32(id))
		must(t, err)
		if fmt.Sprint(q.Space) != m[2] || fmt.Sprint(q.Inodes) != m[3] {
			t.Errorf("%v %d: %d bytes in %d inodes, debugfs says %s in %s", kind, id, q.Space, q.Inodes, m[2], m[3])
		}
	}
}

// quotaIDs spread over the tree.
func quotaID(rng *rand.Rand) uint32 {
	switch rng.IntN(4) {
	case 0:
		return uint32(rng.IntN(3))
	case 1:
		return []uint32{255, 256, 65535, 65536, 1 << 24, 1<<32 - 2}[rng.IntN(6)]
	case 2:
		return 1000 + uint32(rng.IntN(40))
	}
	return rng.Uint32N(1 << 31)
}

// ownersAtRandom plays a script in which owners change, too.
func ownersAtRandom(t *testing.T, f *ext4.FS, rng *rand.Rand, steps int) {
	t.Helper()
	o := &ourSide{author{t, f, ext4.Op{Now: testNow, Privileged: true}}}
	s := &script{rng: rng, paths: []string{".", "many"}}
	_ = o.mkdir("many")
	sb := f.Superblock()
	held := []uint32{}
	for range steps {
		if rng.IntN(3) == 0 {
			o.op.UID, o.op.GID = quotaID(rng), quotaID(rng)
		}
		name, do := s.next()
		err := do(o)
		switch rng.IntN(6) {
		case 0:
			uid, gid := quotaID(rng), quotaID(rng)
			name = "chown " + s.path()
			err = o.on(s.path(), false, func(i uint32) error {
				return f.Setattr(o.next(), i, ext4.SetAttr{UID: &uid, GID: &gid})
			})
		case 1:
			flags, project := uint32(disk.FlagProject), quotaID(rng)
			name = "project of " + s.path()
			if sb.Has(0, 0, disk.ROCompatProject) {
				err = o.on(s.path(), false, func(i uint32) error {
					return f.Setattr(o.next(), i, ext4.SetAttr{Project: &project, Flags: &flags})
				})
			}
		case 2:
			if len(held) < 5 {
				_ = o.on(s.path(), false, func(i uint32) error { held = append(held, i); return f.Hold(i) })
			}
		case 3:
			mode := ext4.FallocateMode(rng.IntN(3))
			_ = o.on(s.path(), true, func(i uint32) error {
				return f.Fallocate(o.next(), i, mode, rng.IntN(2) == 0, rng.Int64N(1<<20), 1+rng.Int64N(1<<18))
			})
		}
		if err != nil && ext4.KindOf(err) == 0 {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, i := range held {
		must(t, f.Release(o.next(), i))
	}
}

// TestPowerLossWithQuotas cuts the power while owners change. Every state is checked by
// us, and some by e2fsck, to have counted right.
func TestPowerLossWithQuotas(t *testing.T) {
	_, steps, samples, fsck := sweepSize()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	content, err := os.ReadFile(ext4test.Mkfs(t, 12<<20, "-b", "1024", "-O", "quota,project", "-J", "size=2"))
	must(t, err)
	r := newCrashRunOf(t, seed, crashtest.FromBytes(content), 1<<20)
	r.syncing, r.owners = 2, true
	for k := range steps {
		r.step(true)
		if inodes := r.trees[len(r.trees)-1].inodes(); k%3 == 0 {
			for ino := range inodes {
				if disk.RootIno == ino {
					continue
				}
				uid, project := quotaID(r.rng), quotaID(r.rng)
				r.do(fmt.Sprintf("chown %d", ino), func() error {
					return r.f.Setattr(r.op(), ino, ext4.SetAttr{UID: &uid, Project: &project})
				})
				break
			}
		}
	}
	r.sync()
	t.Logf("%d crash states", r.sweep(crashtest.Sweep{Seed: seed, Tear: 1024, Samples: samples}, fsck))
}

// TestCheckCountsQuotas has files of quotas that are wrong.
func TestCheckCountsQuotas(t *testing.T) {
	for _, c := range []struct{ command, want string }{
		{"set_inode_field file uid 77", "user quota of 77: is not in its file"},
		{"set_inode_field file gid 0", "group quota of 8: 0 bytes in 0 inodes, its file says"},
		{"set_inode_field <3> size 1024", "quota file"},
		{"zap_block -f <4> -p 0 0", "quota file"},
		{"zap_block -f <3> -o 1024 -l 1024 -p 255 0", "quota file"},
	} {
		t.Run(c.command, func(t *testing.T) {
			path := ext4test.Mkfs(t, 16<<20, "-O", "quota")
			f, done := openPath(t, path)
			a := &author{t, f, ext4.Op{Now: testNow, UID: 7, GID: 8, Privileged: true}}
			a.file(ext4.Root, "file", make([]byte, 5000), 0)
			done()
			succeed(t, "debugfs", "-w", "-R", c.command, path)
			if out, code := ext4test.Run(t, "e2fsck", "-fn", path); code == 0 && !strings.Contains(out, "QUOTA") {
				t.Errorf("e2fsck finds nothing: %s", out)
			}
			r := checkPath(t, path)
			if r.Clean() || !strings.Contains(strings.Join(r.Problems, "\n"), c.want) {
				t.Errorf("found %q, want %q", r.Problems, c.want)
			}
		})
	}
}
