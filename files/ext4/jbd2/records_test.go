package jbd2_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/internal/testenv"
)

// TestRecordsEqualLogdump compares what we say of our logs with what debugfs does.
func TestRecordsEqualLogdump(t *testing.T) {
	testenv.Unraced(t)
	for _, g := range guests {
		t.Run(g.name, func(t *testing.T) {
			path, _ := commitToFile(t, rand.Uint64(), g.mkfs, g.Options)
			v := openVolume(t, path)
			file, err := image.Open(path, false)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			var ours []string
			numbers := map[jbd2.RecordKind]int{jbd2.RecordDescriptor: 1, jbd2.RecordCommit: 2, jbd2.RecordRevoke: 5}
			log := v.log(file)
			if err := log.Records(func(r jbd2.Record) bool {
				if !r.Replayed {
					t.Errorf("transaction %d is said not to be replayed", r.Sequence)
				}
				ours = append(ours, fmt.Sprintf("sequence %d, type %d at block %d", r.Sequence, numbers[r.Kind], r.At))
				for _, b := range r.Blocks {
					ours = append(ours, fmt.Sprintf("%s %d", r.Kind, b))
				}
				return true
			}); err != nil {
				t.Fatal(err)
			}
			var theirs []string
			for line := range strings.Lines(crashtest.Debugfs(t, path, false, "logdump -a")) {
				var a, b, kind uint64
				var name string
				line = strings.TrimSpace(line)
				if n, _ := fmt.Sscanf(line, "Found expected sequence %d, type %d %s block) at block %d", &a, &kind, &name, &b); n >= 2 {
					fmt.Sscanf(line[strings.LastIndex(line, " ")+1:], "%d", &b)
					theirs = append(theirs, fmt.Sprintf("sequence %d, type %d at block %d", a, kind, b))
				} else if n, _ := fmt.Sscanf(line, "FS block %d logged at journal block %d", &a, &b); n == 2 {
					theirs = append(theirs, fmt.Sprintf("descriptor %d", a))
				} else if n, _ := fmt.Sscanf(line, "Revoke FS block %d", &a); n == 1 {
					theirs = append(theirs, fmt.Sprintf("revoke %d", a))
				}
			}
			if len(ours) == 0 || strings.Join(ours, "\n") != strings.Join(theirs, "\n") {
				for i := range max(len(ours), len(theirs)) {
					if i >= len(ours) || i >= len(theirs) || ours[i] != theirs[i] {
						t.Fatalf("of %d entries (debugfs: %d) number %d differs: %q, debugfs: %q", len(ours), len(theirs), i,
							ours[i:min(i+1, len(ours))], theirs[i:min(i+1, len(theirs))])
					}
				}
				t.Fatal("the log is empty")
			}
		})
	}
}
