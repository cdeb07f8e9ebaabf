package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// extentLevel is one node on the way from the inode to a leaf.
type extentLevel struct {
	buf  *buffer.Buffer // nil for the root, which is in the inode
	node disk.ExtentNode
	at   int // entry followed; in the leaf, the last that begins at or before the block searched for, or -1
}

// extentPath leads to the leaf in which a block is, or would be. Its buffers
// are pinned.
type extentPath struct {
	levels [disk.ExtentsDepth + 1]extentLevel
	n      int
}

func (p *extentPath) leaf() *extentLevel { return &p.levels[p.n-1] }

func (p *extentPath) release() {
	for l := range p.n {
		if b := p.levels[l].buf; b != nil {
			b.Release()
		}
	}
	p.n = 0
}

// find fills p with the path to logical.
func (f *FS) findExtent(i *inode, logical uint32, p *extentPath) error {
	p.levels[0] = extentLevel{node: i.d.Block[:]}
	p.n = 1
	for {
		l := p.leaf()
		l.at = l.node.Find(logical)
		depth := l.node.Depth()
		if depth == 0 {
			return nil
		}
		l.at = max(l.at, 0)
		if p.n > disk.ExtentsDepth {
			p.release()
			return &disk.CorruptError{Structure: "extent tree", Ino: i.ino, Detail: "too deep"}
		}
		b, err := f.extentNode(i, l.node.Child(l.at), depth-1)
		if err != nil {
			p.release()
			return err
		}
		p.levels[p.n] = extentLevel{buf: b, node: b.Data}
		p.n++
	}
}

// following returns the first logical block that the leaf next to p's covers.
func (p *extentPath) following() (uint32, bool) {
	for l := p.n - 2; l >= 0; l-- {
		if e := &p.levels[l]; e.at+1 < e.node.Entries() {
			return e.node.First(e.at + 1), true
		}
	}
	return 0, false
}

// change announces a change of the node at level l.
func (t *tx) changeNode(p *extentPath, l int) error {
	if b := p.levels[l].buf; b != nil {
		return t.modify(b)
	}
	t.changed = true
	return nil
}

// seal stores the checksum of the node at level l after a change.
func (t *tx) sealNode(i *inode, p *extentPath, l int) {
	if b := p.levels[l].buf; b != nil && t.f.sb.MetadataCsum() {
		disk.SealExtentNode(b.Data, i.seed)
	}
}

// rekey makes the keys above level l agree with its first entry.
func (t *tx) rekey(i *inode, p *extentPath, l int) error {
	for ; l > 0; l-- {
		up := &p.levels[l-1]
		first := p.levels[l].node.First(0)
		if up.node.First(up.at) != first {
			if err := t.changeNode(p, l-1); err != nil {
				return err
			}
			up.node.SetChild(up.at, first, up.node.Child(up.at))
			t.sealNode(i, p, l-1)
		}
		if up.at > 0 {
			return nil
		}
	}
	return nil
}

// extentGoal proposes a place for nodes of the tree of i and for its data.
func (f *FS) extentGoal(i *inode) uint64 {
	return f.sb.GroupStart((i.ino - 1) / f.sb.InodesPerGroup)
}

// newNode allocates a block for a node of the tree.
func (t *tx) newNode(i *inode, depth int) (*buffer.Buffer, error) {
	block, err := t.allocate(t.f.extentGoal(i))
	if err != nil {
		return nil, err
	}
	b, err := t.create(block)
	if err != nil {
		return nil, err
	}
	disk.InitExtentNode(b.Data, depth, false)
	b.SetVerified(i.key(keyExtent + uint64(depth)))
	t.addBlocks(i, 1)
	return b, nil
}

// makeRoom splits the full leaf of p, or the lowest full node above it whose
// parent has room, for an extent at logical; the tree grows a level when even
// the root is full. The caller searches again.
func (t *tx) makeRoom(i *inode, p *extentPath, logical uint32) error {
	l := p.n - 1
	for l > 0 && p.levels[l-1].node.Entries() == p.levels[l-1].node.Max() {
		l--
	}
	if l == 0 {
		return t.deepen(i, p)
	}
	full, up := &p.levels[l], &p.levels[l-1]
	depth, entries := full.node.Depth(), full.node.Entries()
	b, err := t.newNode(i, depth)
	if err != nil {
		return err
	}
	defer b.Release()
	if err := t.changeNode(p, l); err != nil {
		return err
	}
	if err := t.changeNode(p, l-1); err != nil {
		return err
	}
	node := disk.ExtentNode(b.Data)
	// Appending leaves full nodes behind; anything else halves them.
	from := entries / 2
	if logical > full.node.First(entries-1) {
		from = entries
		if depth > 0 {
			from--
		}
	}
	first := logical
	if from < entries {
		first = full.node.First(from)
	}
	for k := from; k < entries; k++ {
		node.Insert(k - from)
		if depth > 0 {
			node.SetChild(k-from, full.node.First(k), full.node.Child(k))
		} else {
			node.SetExtent(k-from, full.node.Extent(k))
		}
	}
	full.node.Remove(from, entries-from)
	up.node.Insert(up.at + 1)
	up.node.SetChild(up.at+1, first, b.Block())
	t.sealNode(i, p, l)
	t.sealNode(i, p, l-1)
	if t.f.sb.MetadataCsum() {
		disk.SealExtentNode(b.Data, i.seed)
	}
	return nil
}

// deepen moves the root's entries to a new node below it.
func (t *tx) deepen(i *inode, p *extentPath) error {
	root := p.levels[0].node
	depth := root.Depth()
	if depth >= disk.ExtentsDepth {
		return refuse(KindTooBig, "map", i.ino, "")
	}
	b, err := t.newNode(i, depth)
	if err != nil {
		return err
	}
	defer b.Release()
	node := disk.ExtentNode(b.Data)
	first := root.First(0)
	for k := range root.Entries() {
		node.Insert(k)
		if depth > 0 {
			node.SetChild(k, root.First(k), root.Child(k))
		} else {
			node.SetExtent(k, root.Extent(k))
		}
	}
	if t.f.sb.MetadataCsum() {
		disk.SealExtentNode(b.Data, i.seed)
	}
	t.changed = true
	root = disk.InitExtentNode(i.d.Block[:], depth+1, true)
	root.Insert(0)
	root.SetChild(0, first, b.Block())
	return nil
}
