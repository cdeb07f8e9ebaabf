package ext4_test

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
)

// TestQuotaVolumesBesideTheKernel does the same by the kernel, on a copy without quotas if
// it has none, and by us: counting changes nothing else. One of the volumes each time, all
// with QUINTET_LONG=1.
func TestQuotaVolumesBesideTheKernel(t *testing.T) {
	testenv.Unraced(t)
	seed, steps, every := rand.Uint64(), 200, uint64(4)
	if os.Getenv("QUINTET_LONG") != "" {
		steps, every = 3000, 1
	}
	for n, v := range []struct {
		name    string
		args    string // of mke2fs
		steps   []string
		without string // features that the kernel may not be able to write
	}{
		{"quota", "", []string{"tune2fs -O quota"}, "^quota"},
		{"quota, 1k, no extents", "-b 1024 -O ^extent,^64bit", []string{"tune2fs -O quota"}, "^quota"},
		{"project", "-I 256", []string{"tune2fs -O project"}, "^project"},
		{"quota and project", "-b 1024", []string{"tune2fs -O project,quota", "tune2fs -Q prjquota"}, "^quota,^project"},
	} {
		if uint64(n)%every != seed%every {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			besideTheKernel(t, convertedVolume(t, v.args, v.steps), v.without, seed, steps)
		})
	}
}
