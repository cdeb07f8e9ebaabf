package ext4

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/storage"
)

// Fast commits of Linux are replayed as operations, in memory, and what comes of them is
// then put on the volume at once. None are written.

// fastReplay does what fast commits say, on a file system of its own over an overlay.
type fastReplay struct {
	f    *FS
	op   *Op
	read func(n uint32) ([]byte, error)
	tid  uint32 // transaction they follow on
}

var errEnough = errors.New("all complete fast commits have been seen")

// replayFast applies the fast commits of log, which follow on transaction tid-1, to the
// volume as over has it.
func replayFast(over storage.Volume, log *jbd2.Log, tid uint32, o Options) error {
	journal, err := log.Load()
	if err != nil {
		return err
	}
	sb, err := ReadSuperblock(over)
	if err != nil {
		return err
	}
	f, err := newFS(over, sb, o)
	if err != nil {
		return err
	}
	now := o.Now()
	if last := time.Unix(int64(sb.WriteTime), 0); now.Before(last) { // who only looks has no time
		now = last
	}
	r := &fastReplay{f: f, tid: tid, op: &Op{Now: now, Privileged: true},
		read: func(n uint32) ([]byte, error) { return log.FastBlock(journal, n) }}
	complete, err := disk.EachFastTag(r.read, tid, sb, nil)
	if err != nil || complete == 0 {
		return err
	}
	if err := f.startInMemory(o); err != nil {
		return err
	}
	for _, pass := range []func(disk.FastTag) error{r.hold, r.apply} {
		if err := r.each(complete, pass); err != nil {
			return fmt.Errorf("ext4: replaying fast commits: %w", err)
		}
	}
	if err := f.journal.Close(); err != nil {
		return err
	}
	return f.cache.Flush()
}

// startInMemory makes a file system over an overlay writable, without a journal.
func (f *FS) startInMemory(o Options) (err error) {
	if err := f.recount(); err != nil {
		return err
	}
	if err := f.openQuotas(nil); err != nil {
		return err
	}
	f.available.Store(f.freeBlocks.Load())
	if f.journal, err = jbd2.Open(newUnlogged(f), jbd2.Options{Cache: f.cache, Now: o.Now}); err != nil {
		return err
	}
	return f.loadOrphans() // they stay on their list
}

func (r *fastReplay) each(complete int, do func(disk.FastTag) error) error {
	seen := 0
	_, err := disk.EachFastTag(r.read, r.tid, r.f.sb, func(t disk.FastTag) error {
		if seen == complete {
			return errEnough
		}
		seen++
		return do(t)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (r *fastReplay) damaged(t disk.FastTag, detail string) error {
	return &disk.CorruptError{Structure: "fast commit", Ino: t.Ino, Detail: detail}
}

// hold keeps the blocks that files are to get, so that nothing else takes them before.
func (r *fastReplay) hold(t disk.FastTag) error {
	if t.Kind != disk.FastAddRange {
		return nil
	}
	x, sb := t.Extent, r.f.sb
	if x.Physical < uint64(sb.FirstDataBlock) || x.Physical >= sb.BlocksCount || uint64(x.Len) > sb.BlocksCount-x.Physical {
		return r.damaged(t, "its blocks are beyond the volume")
	}
	for block, end := x.Physical, x.Physical+uint64(x.Len); block < end; {
		n, at := sb.GroupOf(block)
		part := min(uint32(end-block), sb.GroupBlocks(n)-at)
		if err := r.f.holdFree(n, int(at), int(at+part)); err != nil {
			return err
		}
		block += uint64(part)
	}
	return nil
}

// holdFree holds the blocks of a stretch of group n that are free.
func (f *FS) holdFree(n uint32, from, to int) error {
	return f.inGroup(n, func(g *group, bitmap []byte) error {
		for at := nextClear(bitmap, g.held, from, to); at < to; at = nextClear(bitmap, g.held, at, to) {
			end := nextSet(bitmap, g.held, at, to)
			f.hold(g, at, end-at)
			f.available.Add(int64(at - end))
			at = end
		}
		return nil
	})
}

func (r *fastReplay) apply(t disk.FastTag) error {
	if r.f.sb.Special(t.Ino) || r.f.sb.Special(t.Parent) && t.Parent != 0 || t.Ino == 0 || t.Ino > r.f.sb.InodesCount {
		return r.damaged(t, "changes an inode of the file system's own, or none")
	}
	switch t.Kind {
	case disk.FastInode:
		return r.inode(t)
	case disk.FastAddRange:
		return r.with(t.Ino, func(i *inode) error { return r.addRange(i, t) })
	case disk.FastDelRange:
		return r.with(t.Ino, func(i *inode) error {
			return r.remove(i, t.From, uint64(t.From)+uint64(t.Count))
		})
	}
	if strings.ContainsAny(t.Name, "/\x00") || t.Name == "." || t.Name == ".." {
		return r.damaged(t, "names it "+t.Name)
	}
	if t.Kind == disk.FastUnlink {
		return r.unlink(t)
	}
	return r.link(t)
}

// with calls do with an inode, locked. One that is not there has been removed since.
func (r *fastReplay) with(ino uint32, do func(*inode) error) error {
	i, unlock, err := r.f.lockOne(ino)
	if KindOf(err) == KindStale {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return do(i)
}

// commit lets what was freed be used again.
func (r *fastReplay) commit() error { return r.f.journal.CommitRunning() }
