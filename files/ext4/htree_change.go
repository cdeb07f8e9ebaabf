package ext4

import (
	"cmp"
	"slices"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// indexSplitsMax bounds the splits one addition may need: the leaf's more than
// once when names are long and blocks small, a node's, and a new level.
const indexSplitsMax = 8

// makeIndex turns a directory of one block into an indexed one: its entries
// move to a leaf, and the root takes the block.
func (t *tx) makeIndex(d *inode) error {
	f := t.f
	root, err := f.dirBlock(d, 0, keyDirLeaf)
	if err != nil {
		return err
	}
	defer root.Release()
	damaged := &disk.CorruptError{Structure: "directory", Ino: d.ino, Block: root.Block(), Detail: "does not begin with its dots"}
	end := disk.DirentsEnd(f.sb)
	dot, err := disk.ReadDirent(root.Data, 0, end, f.sb)
	if err != nil || string(dot.Name) != "." || dot.RecLen != 12 {
		return damaged
	}
	dots, err := disk.ReadDirent(root.Data, 12, end, f.sb)
	if err != nil || string(dots.Name) != ".." {
		return damaged
	}
	if err := t.modify(root); err != nil {
		return err
	}
	leaf, n, err := t.appendDirBlock(d, keyDirLeaf)
	if err != nil {
		return err
	}
	defer leaf.Release()
	var list []hashed
	for off := 12 + dots.RecLen; off < end; {
		e, err := disk.ReadDirent(root.Data, off, end, f.sb)
		if err != nil {
			return disk.At(err, d.ino, root.Block())
		}
		if e.Ino != 0 {
			list = append(list, hashed{e: e})
		}
		off += e.RecLen
	}
	t.packLeaf(d, leaf, list)
	d.d.Flags |= disk.FlagIndex
	disk.InitIndexRoot(root.Data, f.sb, f.sb.DefaultHash, n).Seal(f.sb, d.seed)
	root.SetVerified(d.key(keyIndexRoot))
	return nil
}

// hashed is an entry with its hash.
type hashed struct {
	e    disk.Dirent
	hash uint32
}

// packLeaf writes entries, whose names lie elsewhere, into a leaf.
func (t *tx) packLeaf(d *inode, b *buffer.Buffer, list []hashed) {
	sb := t.f.sb
	end := disk.DirentsEnd(sb)
	clear(b.Data)
	if len(list) == 0 {
		t.emptyLeaf(b.Data)
	}
	off := 0
	for k, h := range list {
		n := h.e.Size()
		if k == len(list)-1 {
			n = end - off
		}
		disk.PutDirent(b.Data, off, n, h.e.Ino, h.e.Type, string(h.e.Name), sb)
		off += n
	}
	disk.InitDirTail(b.Data, sb)
	disk.SealDirLeaf(b.Data, sb, d.seed)
}

// addIndexed adds an entry through the index, splitting what is full.
func (t *tx) addIndexed(d *inode, name string, ino uint32, typ uint8) error {
	for range indexSplitsMax {
		var p htreePath
		if _, err := t.f.descendTo(d, &p, name); err != nil {
			return err
		}
		done, err := t.addAlong(d, &p, name, ino, typ)
		p.release()
		if err != nil || done {
			return err
		}
	}
	return &disk.CorruptError{Structure: "directory index", Ino: d.ino, Detail: "splitting does not make room"}
}

// addAlong adds the entry to the leaf of p, or makes one step towards room.
func (t *tx) addAlong(d *inode, p *htreePath, name string, ino uint32, typ uint8) (bool, error) {
	leaf, err := t.f.dirBlock(d, p.leaf(), keyDirLeaf)
	if err != nil {
		return false, err
	}
	defer leaf.Release()
	done, err := t.addToLeaf(d, leaf, name, ino, typ)
	if err != nil || done {
		return done, err
	}
	last := &p.frames[p.n-1]
	if last.node.Count() < last.node.Limit() {
		return false, t.splitLeaf(d, last, leaf)
	}
	return false, t.growIndex(d, p)
}

// indexFull reports, before a transaction begins, whether adding a name could
// find the whole index full. It needs d.mu.
func (f *FS) indexFull(d *inode, name string) (bool, error) {
	if !f.indexed(d) {
		return false, nil
	}
	b, err := f.dirBlock(d, 0, keyIndexRoot)
	if err != nil {
		return false, err
	}
	root := disk.IndexRoot(b.Data)
	full := root.Count() == root.Limit() && root.Levels() == f.indexLevels()
	b.Release()
	if !full {
		return false, nil
	}
	var p htreePath
	if _, err := f.descendTo(d, &p, name); err != nil {
		return false, err
	}
	defer p.release()
	// A split of the leaf may be needed twice.
	last := p.frames[p.n-1].node
	return last.Count()+2 > last.Limit(), nil
}

// indexLevels is the number of levels an index may have below its root.
func (f *FS) indexLevels() int {
	if f.sb.Has(0, disk.IncompatLargeDir, 0) {
		return disk.IndexLevelsMax
	}
	return disk.IndexLevelsMax - 1
}

// splitLeaf moves the upper half of a leaf, by hash and by size, to a new one
// that it enters behind at in node.
func (t *tx) splitLeaf(d *inode, at *frame, leaf *buffer.Buffer) error {
	f := t.f
	version, err := f.indexVersion(d)
	if err != nil {
		return err
	}
	// The names stay readable while the leaf is rewritten.
	old := slices.Clone(leaf.Data)
	var list []hashed
	size := 0
	for off, end := 0, disk.DirentsEnd(f.sb); off < end; {
		e, err := disk.ReadDirent(old, off, end, f.sb)
		if err != nil {
			return disk.At(err, d.ino, leaf.Block())
		}
		if e.Ino != 0 {
			major, _, err := f.nameHash(d, version, e.Name)
			if err != nil {
				return err
			}
			list = append(list, hashed{e, major})
			size += e.Size()
		}
		off += e.RecLen
	}
	slices.SortFunc(list, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
	if len(list) < 2 {
		return &disk.CorruptError{Structure: "directory block", Ino: d.ino, Block: leaf.Block(), Detail: "too few entries to split"}
	}
	cut, below := 1, list[0].e.Size()
	for cut < len(list)-1 && below+list[cut].e.Size() <= size/2 {
		below += list[cut].e.Size()
		cut++
	}
	if err := t.modify(leaf); err != nil {
		return err
	}
	if err := t.modify(at.buf); err != nil {
		return err
	}
	upper, n, err := t.appendDirBlock(d, keyDirLeaf)
	if err != nil {
		return err
	}
	defer upper.Release()
	t.packLeaf(d, upper, list[cut:])
	t.packLeaf(d, leaf, list[:cut])
	hash := list[cut].hash
	if hash == list[cut-1].hash {
		hash |= 1 // equal hashes go on in the new leaf
	}
	at.node.Insert(at.at+1, hash, n)
	at.node.Seal(f.sb, d.seed)
	return nil
}

func (f *FS) indexVersion(d *inode) (uint8, error) {
	b, err := f.dirBlock(d, 0, keyIndexRoot)
	if err != nil {
		return 0, err
	}
	defer b.Release()
	return disk.IndexRoot(b.Data).HashVersion(), nil
}

// growIndex makes room above a leaf whose index node is full: by splitting the
// lowest node whose parent has room, or by a new level under the root.
func (t *tx) growIndex(d *inode, p *htreePath) error {
	f := t.f
	level := p.n - 1
	for level > 0 && p.frames[level-1].node.Count() == p.frames[level-1].node.Limit() {
		level--
	}
	if level == 0 && p.frames[0].node.Levels() >= f.indexLevels() {
		return refuse(KindNoSpace, "index is full: add to", d.ino, "")
	}
	full := &p.frames[level]
	if err := t.modify(full.buf); err != nil {
		return err
	}
	if level > 0 {
		if err := t.modify(p.frames[level-1].buf); err != nil {
			return err
		}
	}
	b, n, err := t.appendDirBlock(d, keyIndexNode)
	if err != nil {
		return err
	}
	defer b.Release()
	node := disk.InitIndexNode(b.Data, f.sb)
	count := full.node.Count()
	from := 0 // the root keeps nothing
	if level > 0 {
		from = count / 2
	}
	hash := full.node.Hash(from)
	node.SetCount(count - from)
	for k := from; k < count; k++ {
		node.Set(k-from, full.node.Hash(k), full.node.Block(k))
	}
	node.Seal(f.sb, d.seed)
	if level == 0 {
		full.node.SetLevels(full.node.Levels() + 1)
		full.node.SetCount(1)
		full.node.Set(0, 0, n)
	} else {
		full.node.SetCount(from)
		up := &p.frames[level-1]
		up.node.Insert(up.at+1, hash, n)
		up.node.Seal(f.sb, d.seed)
	}
	full.node.Seal(f.sb, d.seed)
	return nil
}
