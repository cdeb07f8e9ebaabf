package ext4

import (
	"math"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Credits and blocks of what is counted. An operation changes what at most four inodes
// count, each an entry for every kind; a new id takes a block of entries and the inner
// blocks that lead to it, beside its neighbours in the list of those with room.
const (
	ownersMax     = 4
	creditsNewID  = 2*disk.QuotaDepth + 12
	claimNewIDMap = 2 // for the quota file's own map
)

// claimNewID is how many blocks of metadata a new id may allocate.
func (f *FS) claimNewID() int {
	return max(1, disk.QuotaDepth*disk.QuotaBlockSize/f.bs) + claimNewIDMap
}

// quotaCredits is what counting adds to a transaction.
func (f *FS) quotaCredits() int {
	n := 0
	for _, q := range f.quotas {
		if q != nil {
			n += ownersMax
		}
	}
	return n
}

// count notes that the owners of i use so many bytes and inodes more, or fewer; settled
// by the end of the transaction.
func (t *tx) count(i *inode, space, inodes int64) {
	if t.f.counting && !t.f.sb.Special(i.ino) {
		t.countFor(t.f.owners(i), usage{space, inodes})
	}
}

func (t *tx) countFor(ids owners, u usage) {
next:
	for kind, id := range ids {
		if t.f.quotas[kind] == nil {
			continue
		}
		for k := range t.counted {
			if c := &t.counted[k]; c.kind == QuotaKind(kind) && c.id == id {
				c.space += u.space
				c.inodes += u.inodes
				continue next
			}
		}
		t.counted = append(t.counted, counted{QuotaKind(kind), id, u})
	}
}

// move counts for others what i has; the caller makes them its owners.
func (t *tx) move(i *inode, ids owners) {
	if from := t.f.owners(i); t.f.counting && from != ids {
		u := t.f.uses(i)
		t.countFor(from, usage{-u.space, -u.inodes})
		t.countFor(ids, u)
	}
}

// counted is a change of what an id uses.
type counted struct {
	kind QuotaKind
	id   uint32
	usage
}

// settleQuotas writes what has been counted to the quota files, in the transaction that
// it is true of.
func (t *tx) settleQuotas() error {
	for _, c := range t.counted {
		if c.usage != (usage{}) {
			if err := t.settleQuota(c); err != nil {
				return err
			}
		}
	}
	t.counted = t.counted[:0]
	return nil
}

func (t *tx) settleQuota(c counted) error {
	q := t.f.quotas[c.kind]
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.promise != nil {
		t.promise.keep(q, c)
	}
	p, err := q.find(c.id)
	if err != nil {
		return err
	}
	if p.block == 0 {
		if c.inodes <= 0 {
			return nil // it has inodes that the file has never counted: e2fsck counts anew
		}
		if p, err = t.insertQuota(q, c.id); err != nil {
			return err
		}
	}
	return t.updateQuota(q, p, func(e *disk.Quota) {
		e.Space, e.Inodes = moved(e.Space, c.space), moved(e.Inodes, c.inodes)
		q.setTimes(e, c.usage, uint64(max(0, t.op.Now.Unix())), q.enforced)
	})
}

// moved is n changed by d, within what can be counted.
func moved(n uint64, d int64) uint64 {
	if d < 0 {
		return n - min(n, uint64(-d))
	}
	return n + min(uint64(d), math.MaxInt64-min(n, math.MaxInt64))
}

// setTimes ends the time that a soft limit may be exceeded after a change of what is used,
// or starts it, if it may: with Linux, use does so only if limits are enforced.
func (q *quotaFile) setTimes(e *disk.Quota, u usage, now uint64, may bool) {
	for _, l := range []struct {
		over   bool
		change int64
		until  *uint64
		grace  uint32
	}{
		{e.SpaceSoft != 0 && e.Space > e.SpaceSoft*quotaUnit, u.space, &e.SpaceUntil, q.info.SpaceGrace},
		{e.InodesSoft != 0 && e.Inodes > e.InodesSoft, u.inodes, &e.InodeUntil, q.info.InodeGrace},
	} {
		switch {
		case l.change < 0 && !l.over:
			*l.until = 0
		case l.change > 0 && l.over && may && *l.until == 0:
			*l.until = now + uint64(l.grace)
		}
	}
}

// updateQuota changes an entry. q.mu is held.
func (t *tx) updateQuota(q *quotaFile, p quotaPlace, change func(*disk.Quota)) error {
	b, data, err := q.block(p.block)
	if err != nil {
		return err
	}
	defer b.Release()
	if err := t.modify(b); err != nil {
		return err
	}
	raw := disk.QuotaLeaf(data).Entry(p.entry)
	e := disk.DecodeQuota(raw)
	change(&e)
	e.Encode(raw)
	return nil
}
