package ext4

import (
	"cmp"
	"maps"
	"slices"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// uses adds what inode i has, so many blocks, to what its owners use.
func (c *checker) uses(i *inode, blocks uint64) {
	if c.f.sb.Special(i.ino) || i.d.Has(disk.FlagEAInode) {
		return
	}
	for kind, id := range c.f.owners(i) {
		u := c.owned[kind][id]
		u.space += int64(blocks << c.f.shift)
		u.inodes++
		c.owned[kind][id] = u
	}
}

// quotas compares the files of quotas with what has been found. Values of attributes in
// inodes of their own are counted for those who refer to them, which is not looked at.
func (c *checker) quotas() error {
	f := c.f
	if !f.sb.Has(0, 0, disk.ROCompatQuota) || f.sb.Has(0, disk.IncompatEAInode, 0) {
		return nil
	}
	for kind, ino := range f.sb.QuotaInodes {
		if ino == 0 {
			continue
		}
		if err := c.note(c.quotaFile(QuotaKind(kind))); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) quotaFile(kind QuotaKind) error {
	q, err := c.f.openQuotaFile(kind)
	if err != nil {
		return err
	}
	defer c.f.put(q.inode)
	missing := maps.Clone(c.owned[kind])
	err = q.each(func(e disk.Quota) {
		u := c.owned[kind][e.ID]
		if delete(missing, e.ID); e.Space != uint64(u.space) || e.Inodes != uint64(u.inodes) {
			c.problem("%s quota of %d: %d bytes in %d inodes, its file says %d in %d", kind, e.ID, u.space, u.inodes, e.Space, e.Inodes)
		}
		if p, err := q.find(e.ID); err != nil || p.block == 0 {
			c.problem("%s quota of %d: is in its file, where nobody finds it", kind, e.ID)
		}
	})
	for _, id := range slices.SortedFunc(maps.Keys(missing), cmp.Compare[uint32]) {
		c.problem("%s quota of %d: is not in its file", kind, id)
	}
	return err
}
