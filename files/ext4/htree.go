package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/fold"
)

// frame is one index node on the path from the root to a leaf.
type frame struct {
	buf  *buffer.Buffer
	node disk.Index
	at   int // entry followed
}

// htreePath is the path to a leaf, the root first. Its buffers are pinned.
type htreePath struct {
	frames [disk.IndexLevelsMax + 1]frame
	n      int
}

func (p *htreePath) release() {
	for i := range p.n {
		p.frames[i].buf.Release()
	}
	p.n = 0
}

// leaf is the logical block the path leads to.
func (p *htreePath) leaf() uint32 {
	l := &p.frames[p.n-1]
	return l.node.Block(l.at)
}

// nameHash hashes a name in directory d with the version that its root names.
func (f *FS) nameHash(d *inode, version uint8, name []byte) (major, minor uint32, err error) {
	if f.folds(d) {
		var buf [foldedBytes]byte
		if folded, ok := fold.Name(buf[:0], string(name)); ok {
			name = folded
		}
	}
	return disk.NameHash(f.sb.HashVersion(version), f.sb.HashSeed, name)
}

// descendTo follows the hash of a name from the root to a leaf.
func (f *FS) descendTo(d *inode, p *htreePath, name string) (hash uint32, err error) {
	b, err := f.dirBlock(d, 0, keyIndexRoot)
	if err != nil {
		return 0, err
	}
	root := disk.IndexRoot(b.Data)
	if hash, _, err = f.nameHash(d, root.HashVersion(), []byte(name)); err != nil {
		b.Release()
		return 0, disk.At(err, d.ino, b.Block())
	}
	p.frames[0] = frame{buf: b, node: root}
	p.n = 1
	return hash, f.descendFrom(d, p, hash)
}

// descend follows hash from the root to a leaf.
func (f *FS) descend(d *inode, p *htreePath, hash uint32) error {
	b, err := f.dirBlock(d, 0, keyIndexRoot)
	if err != nil {
		return err
	}
	p.frames[0] = frame{buf: b, node: disk.IndexRoot(b.Data)}
	p.n = 1
	return f.descendFrom(d, p, hash)
}

// descendFrom goes on below the root, which p begins with.
func (f *FS) descendFrom(d *inode, p *htreePath, hash uint32) error {
	levels := p.frames[0].node.Levels()
	for {
		l := &p.frames[p.n-1]
		l.at = l.node.Find(hash)
		if p.n > levels {
			return nil
		}
		b, err := f.dirBlock(d, l.node.Block(l.at), keyIndexNode)
		if err != nil {
			p.release()
			return err
		}
		p.frames[p.n] = frame{buf: b, node: disk.IndexNode(b.Data)}
		p.n++
	}
}

// next advances the path to the following leaf and returns the hash it begins
// at, which has bit 0 set when entries of one hash spill over from the leaf
// before. It returns false at the end.
func (f *FS) next(d *inode, p *htreePath) (hash uint32, ok bool, err error) {
	top := p.n - 1
	for top >= 0 && p.frames[top].at+1 >= p.frames[top].node.Count() {
		top--
	}
	if top < 0 {
		return 0, false, nil
	}
	p.frames[top].at++
	hash = p.frames[top].node.Hash(p.frames[top].at)
	for level := top + 1; level < p.n; level++ {
		up := &p.frames[level-1]
		b, err := f.dirBlock(d, up.node.Block(up.at), keyIndexNode)
		if err != nil {
			return 0, false, err
		}
		p.frames[level].buf.Release()
		p.frames[level] = frame{buf: b, node: disk.IndexNode(b.Data)}
	}
	return hash, true, nil
}

// findIndexed locates an entry through the index.
func (f *FS) findIndexed(d *inode, name string) (entry, error) {
	var p htreePath
	hash, err := f.descendTo(d, &p, name)
	if err != nil {
		return entry{}, err
	}
	defer p.release()
	for range f.dirBlocks(d) {
		b, err := f.dirBlock(d, p.leaf(), keyDirLeaf)
		if err != nil {
			return entry{}, err
		}
		if e, ok := f.scan(d, b, name); ok {
			return e, nil
		}
		b.Release()
		start, ok, err := f.next(d, &p)
		if err != nil {
			return entry{}, err
		}
		if !ok || start != hash|1 {
			break
		}
	}
	return entry{}, refuse(KindNotExist, "lookup", d.ino, name)
}
