package ext4

import "github.com/quintet-os/quintet/files/ext4/disk"

// Quotas: what users, groups and projects use is counted in files of the file system's
// own, in the transactions that change it, so that the counts are right whenever power is
// lost. Linux and e2fsck expect no less of a volume with the feature. Limits are enforced
// only if Options say so, as Linux does by mount options.

// QuotaKind is whose use is counted.
type QuotaKind uint8

// Kinds of quotas, in the order of the superblock.
const (
	UserQuota QuotaKind = iota
	GroupQuota
	ProjectQuota
	quotaKinds
)

func (k QuotaKind) String() string { return [quotaKinds]string{"user", "group", "project"}[k] }

// quotaUnit is the unit of limits of space, in bytes.
const quotaUnit = 1024

// owners are the ids that an inode is counted for, by kind.
type owners [quotaKinds]uint32

// usage is space in bytes and inodes, or a change of them.
type usage struct{ space, inodes int64 }

func (f *FS) owners(i *inode) owners { return owners{i.d.UID, i.d.GID, f.project(i)} }

// heirOf are the owners of what op makes in directory parent.
func (f *FS) heirOf(op *Op, parent *inode) owners {
	ids := owners{op.UID, op.GID, 0}
	if parent.d.Mode&0o2000 != 0 {
		ids[GroupQuota] = parent.d.GID
	}
	if parent.d.Has(disk.FlagProject) {
		ids[ProjectQuota] = f.project(parent)
	}
	return ids
}

// uses is what i is counted for.
func (f *FS) uses(i *inode) usage { return usage{int64(f.sectors(&i.d) * 512), 1} }

// project is the project of i; 0 is the one of all that have none.
func (f *FS) project(i *inode) uint32 {
	if !f.sb.Has(0, 0, disk.ROCompatProject) {
		return 0
	}
	return i.d.ProjectID
}

// sameProject reports whether i may be named in directory d: one that passes its project
// on takes nothing of another.
func (f *FS) sameProject(d, i *inode) bool {
	return !d.d.Has(disk.FlagProject) || f.project(d) == f.project(i)
}

// openQuotas opens the files of the volume; limits of the kinds listed are enforced.
func (f *FS) openQuotas(enforced []QuotaKind) error {
	if !f.sb.Has(0, 0, disk.ROCompatQuota) {
		return nil
	}
	for kind, ino := range f.sb.QuotaInodes {
		if ino == 0 {
			continue
		}
		q, err := f.openQuotaFile(QuotaKind(kind))
		if err != nil {
			return err
		}
		f.quotas[kind], f.counting = q, true
	}
	for _, kind := range enforced {
		if kind < quotaKinds && f.quotas[kind] != nil {
			f.quotas[kind].enforced, f.limiting = true, true
		}
	}
	return nil
}

// newIDs is how many of the ids are not counted yet.
func (f *FS) newIDs(ids owners) (n int, err error) {
	for kind, id := range ids {
		q := f.quotas[kind]
		if q == nil {
			continue
		}
		q.mu.Lock()
		p, err := q.find(id)
		q.mu.Unlock()
		if err != nil {
			return 0, err
		}
		if p.block == 0 {
			n++
		}
	}
	return n, nil
}

func (f *FS) quota(kind QuotaKind, id uint32) (*quotaFile, error) {
	if kind >= quotaKinds || f.quotas[kind] == nil {
		return nil, refuse(KindNotSupported, "quotas that are not counted: ask for", id, "")
	}
	return f.quotas[kind], nil
}

// Quota returns what an id uses and may use. Errors: KindNotSupported when the volume
// does not count this kind, or is open for reading only.
func (f *FS) Quota(kind QuotaKind, id uint32) (disk.Quota, error) {
	q, err := f.quota(kind, id)
	if err != nil {
		return disk.Quota{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	e, _, err := q.read(id)
	return e, err
}

// SetQuota sets the limits of an id: those in l; what it uses stays as it is. Errors:
// KindNotSupported as for Quota; KindNoSpace.
func (f *FS) SetQuota(op *Op, kind QuotaKind, id uint32, l disk.Quota) error {
	q, err := f.quota(kind, id)
	if err != nil {
		return err
	}
	if err := f.writable(); err != nil {
		return err
	}
	if err := op.rewind(f); err != nil {
		return err
	}
	t, err := f.begin(op, creditsNewID+creditsInode, f.claimNewID())
	if err != nil {
		return err
	}
	return t.end(func() error {
		q.mu.Lock()
		defer q.mu.Unlock()
		p, err := q.find(id)
		if err == nil && p.block == 0 {
			p, err = t.insertQuota(q, id)
		}
		if err != nil {
			return err
		}
		return t.updateQuota(q, p, func(e *disk.Quota) {
			e.SpaceHard, e.SpaceSoft, e.InodesHard, e.InodesSoft = l.SpaceHard, l.SpaceSoft, l.InodesHard, l.InodesSoft
			e.SpaceUntil, e.InodeUntil = 0, 0
			q.setTimes(e, usage{1, 1}, uint64(max(0, op.Now.Unix())), true)
		})
	}())
}
