package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// orphans reads the list of inodes without names, and the file of them.
func (c *checker) orphans() error {
	for ino := c.f.sb.LastOrphan; ino != 0; {
		if !c.orphan(ino) {
			return nil
		}
		d, err := c.f.rawInode(ino)
		if err != nil {
			return c.note(err)
		}
		ino = d.Dtime
	}
	if !c.f.sb.Has(disk.CompatOrphanFile, 0, 0) {
		return nil
	}
	present := c.f.sb.Has(0, 0, disk.ROCompatOrphanPresent)
	return c.note(c.f.eachOrphanBlock(func(_ *inode, b *buffer.Buffer) error {
		for k := range disk.OrphansPerBlock(c.f.sb) {
			if ino := disk.Orphan(b.Data, k); ino != 0 && present {
				c.orphan(ino)
			}
		}
		return nil
	}))
}

// orphan notes one, unless it cannot be one.
func (c *checker) orphan(ino uint32) bool {
	if c.inodes[ino] != nil || ino > c.f.sb.InodesCount {
		c.problem("list of orphans: inode %d is on it twice or does not exist", ino)
		return false
	}
	c.inodes[ino] = &checked{orphan: true}
	c.r.Orphans++
	return true
}
