package ext4

import "github.com/quintet-os/quintet/files/ext4/disk"

// promise is use that limits have been found to allow. It counts until it is kept, by a
// transaction that makes use of it, or released, so that operations at once cannot exceed
// a limit together. The zero promise, and nil, is of nothing.
type promise struct {
	f    *FS
	ids  owners
	not  [quotaKinds]bool // kinds that are not asked
	left [quotaKinds]usage
}

// promise asks the limits of ids for more use. Errors: KindQuota. Privileged operations
// pass any limit, as what has CAP_SYS_RESOURCE does with Linux.
func (f *FS) promise(op *Op, ids owners, u usage) (*promise, error) {
	if !f.limiting {
		return nil, nil
	}
	p := &promise{f: f, ids: ids}
	return p, p.more(op, u)
}

// more adds to a promise; what was promised before stays after an error.
func (p *promise) more(op *Op, u usage) error {
	if p == nil || u == (usage{}) {
		return nil
	}
	var got []QuotaKind
	for kind, id := range p.ids {
		q := p.f.quotas[kind]
		if q == nil || !q.enforced || p.not[kind] {
			continue
		}
		if err := q.promise(op, id, u); err != nil {
			for _, k := range got {
				p.f.quotas[k].unpromise(p.ids[k], u)
				p.left[k] = usage{p.left[k].space - u.space, p.left[k].inodes - u.inodes}
			}
			return err
		}
		got = append(got, QuotaKind(kind))
		p.left[kind] = usage{p.left[kind].space + u.space, p.left[kind].inodes + u.inodes}
	}
	return nil
}

// promiseMove asks the limits of what is to own i for what it has. fresh is how many of
// the ids have not been counted yet.
func (f *FS) promiseMove(op *Op, i *inode, ids owners) (p *promise, fresh int, err error) {
	from := f.owners(i)
	if from == ids || !f.counting {
		return nil, 0, nil
	}
	if fresh, err = f.newIDs(ids); err != nil || !f.limiting {
		return nil, fresh, err
	}
	p = &promise{f: f, ids: ids}
	for kind := range ids {
		p.not[kind] = from[kind] == ids[kind]
	}
	return p, fresh, p.more(op, f.uses(i))
}

// release gives up what is left of a promise.
func (p *promise) release() {
	if p == nil {
		return
	}
	for kind, u := range p.left {
		if u != (usage{}) {
			p.f.quotas[kind].unpromise(p.ids[kind], u)
			p.left[kind] = usage{}
		}
	}
}

// keep turns as much of a promise as is used into use. q.mu is held.
func (p *promise) keep(q *quotaFile, c counted) {
	left := &p.left[q.kind]
	if p.ids[q.kind] != c.id || *left == (usage{}) {
		return
	}
	u := usage{min(left.space, max(0, c.space)), min(left.inodes, max(0, c.inodes))}
	left.space -= u.space
	left.inodes -= u.inodes
	q.drop(c.id, u)
}

func (q *quotaFile) unpromise(id uint32, u usage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(id, u)
}

// drop needs q.mu.
func (q *quotaFile) drop(id uint32, u usage) {
	now := q.promised[id]
	now.space -= u.space
	now.inodes -= u.inodes
	if now == (usage{}) {
		delete(q.promised, id)
		return
	}
	q.promised[id] = now
}

func (q *quotaFile) promise(op *Op, id uint32, u usage) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, _, err := q.read(id)
	if err != nil {
		return err
	}
	all := q.promised[id]
	all.space += u.space
	all.inodes += u.inodes
	now := uint64(max(0, op.Now.Unix()))
	if !op.Privileged && !op.replaying() &&
		(u.space > 0 && exceeds(moved(e.Space, all.space), e.SpaceHard*quotaUnit, e.SpaceSoft*quotaUnit, e.SpaceUntil, now) ||
			u.inodes > 0 && exceeds(moved(e.Inodes, all.inodes), e.InodesHard, e.InodesSoft, e.InodeUntil, now)) {
		return refuse(KindQuota, "quota of "+q.kind.String()+"s: use more of", id, "")
	}
	q.promised[id] = all
	return nil
}

// exceeds reports use that limits forbid: beyond the hard one, or beyond the soft one
// once its time is over.
func exceeds(n, hard, soft, until, now uint64) bool {
	return hard != 0 && n > hard || soft != 0 && n > soft && until != 0 && now >= until
}

// promiseName asks the limits of directory d for the block it may need for a name. It
// needs d.mu.
func (f *FS) promiseName(op *Op, d *inode, name string) (*promise, error) {
	if !f.limiting {
		return nil, nil
	}
	fits, err := f.nameFits(d, name)
	if err != nil || fits {
		return nil, err
	}
	return f.promise(op, f.owners(d), usage{space: int64(f.bs)})
}

// nameFits reports whether a name can be added to directory d as long as it is.
func (f *FS) nameFits(d *inode, name string) (bool, error) {
	need := disk.DirentSize(len(name))
	if f.indexed(d) {
		var p htreePath
		if _, err := f.descendTo(d, &p, name); err != nil {
			return false, err
		}
		defer p.release()
		return f.leafHasRoom(d, p.leaf(), need)
	}
	for n := range f.dirBlocks(d) {
		if ok, err := f.leafHasRoom(d, n, need); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (f *FS) leafHasRoom(d *inode, n uint32, need int) (bool, error) {
	b, err := f.dirBlock(d, n, keyDirLeaf)
	if err != nil {
		return false, err
	}
	defer b.Release()
	_, ok := f.room(b, need)
	return ok, nil
}
