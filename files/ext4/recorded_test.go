package ext4_test

import (
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// TestRecordedErrors: that a journal was aborted, as an error of the device or damage
// makes it, is recorded in the superblock by the next to open the volume, which goes on
// writing; it stays there until e2fsck has looked.
func TestRecordedErrors(t *testing.T) {
	path := ext4test.Mkfs(t, 64<<20)
	setJournalError(t, path)
	write := func() {
		t.Helper()
		volume, err := image.Open(path, true)
		if err != nil {
			t.Fatal(err)
		}
		defer volume.Close()
		f, err := ext4.Open(volume, ext4.Options{})
		if err != nil {
			t.Fatal(err)
		}
		op := ext4.Op{Now: testNow, Privileged: true}
		if _, err := f.Mkdir(&op, ext4.Root, testNow.Add(1).String()+t.Name(), 0o755); err != nil && !strings.Contains(err.Error(), "exists") {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		sb, err := ext4.ReadSuperblock(volume)
		if err != nil {
			t.Fatal(err)
		}
		if sb.State != disk.StateValid|disk.StateError || sb.ErrorCount != 1 || sb.FirstErrorTime == 0 || sb.LastErrorTime == 0 {
			t.Errorf("state %#x, %d errors, from %d to %d", sb.State, sb.ErrorCount, sb.FirstErrorTime, sb.LastErrorTime)
		}
	}
	write()
	write() // a second time nothing new is recorded
	if out, code := ext4test.Run(t, "e2fsck", "-p", path); code > 1 || !strings.Contains(out, "contains a file system with errors, check forced") {
		t.Errorf("e2fsck -p: status %d\n%s", code, out)
	}
	ext4test.Fsck(t, path)
}

// setJournalError marks the journal of an image as aborted: its superblock holds the
// error as a big-endian number, at 0x20.
func setJournalError(t *testing.T, path string) {
	t.Helper()
	volume, err := image.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer volume.Close()
	f, err := ext4.Open(volume, ext4.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	log, err := f.Journal()
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, log.BlockSize)
	at := int64(log.Runs[0].Start) * int64(log.BlockSize)
	if _, err := volume.ReadAt(block, at); err != nil {
		t.Fatal(err)
	}
	copy(block[0x20:], []byte{0xff, 0xff, 0xff, 0xfb}) // -EIO
	if _, err := volume.WriteAt(block, at); err != nil {
		t.Fatal(err)
	}
}

// TestJournalThatNeedsNoRecovery: a journal with transactions on a volume that says it
// needs no recovery is emptied, as Linux does, and the volume written.
func TestJournalThatNeedsNoRecovery(t *testing.T) {
	path := ext4test.Mkfs(t, 64<<20)
	volume, err := image.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(volume, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	op := ext4.Op{Now: testNow, Privileged: true}
	if _, err := f.Mkdir(&op, ext4.Root, "in the log only", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	dead := copyOf(t, path)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	volume.Close()
	if out, code := ext4test.Run(t, "debugfs", "-w", "-R", "feature -needs_recovery", dead); code != 0 {
		t.Fatal(out)
	}
	if volume, err = image.Open(dead, true); err != nil {
		t.Fatal(err)
	}
	defer volume.Close()
	if f, err = ext4.Open(volume, ext4.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Mkdir(&op, ext4.Root, "afterwards", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ext4test.Fsck(t, dead)
}
