package ext4

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

var le = binary.LittleEndian

// ReadAt fills p from offset off of regular file ino, as io.ReaderAt does: it
// returns io.EOF with a short count at the end of the file. Aligned parts go
// straight from the volume into p.
func (f *FS) ReadAt(ino uint32, p []byte, off int64) (int, error) {
	i, err := f.acquire(ino)
	if err != nil {
		return 0, err
	}
	defer f.release(i)
	switch {
	case i.d.IsDir():
		return 0, refuse(KindIsDir, "read", ino, "")
	case !i.d.IsRegular() || off < 0:
		return 0, refuse(KindInvalid, "read", ino, "")
	}
	return f.readFile(i, p, off)
}

// readFile needs i.mu.
func (f *FS) readFile(i *inode, p []byte, off int64) (int, error) {
	if uint64(off) >= i.d.Size {
		return 0, io.EOF
	}
	short := false
	if rest := i.d.Size - uint64(off); uint64(len(p)) > rest {
		p, short = p[:rest], true
	}
	if i.d.Has(disk.FlagInlineData) {
		data, err := f.inlineData(i)
		if err != nil {
			return 0, err
		}
		clear(p)
		if off < int64(len(data)) {
			copy(p, data[off:])
		}
	} else if n, err := f.readMapped(i, p, off); err != nil {
		return n, err
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

func (f *FS) readMapped(i *inode, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := uint64(off) + uint64(done)
		if at>>f.shift > disk.LogicalBlocksMax {
			return done, &disk.CorruptError{Structure: "inode", Ino: i.ino, Detail: "size exceeds what blocks can map"}
		}
		m, err := f.mapBlock(i, uint32(at>>f.shift))
		if err != nil {
			return done, err
		}
		in := at & uint64(f.bs-1)
		n := int(min(uint64(len(p)-done), uint64(m.Len)<<f.shift-in))
		part := p[done : done+n]
		if m.hole() || m.Unwritten {
			clear(part)
		} else if err := f.readData(part, int64(m.Physical<<f.shift+in)); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

var bouncePool = sync.Pool{New: func() any { b := make([]byte, disk.BlockSizeMax); return &b }}

// readData reads bytes of the volume. Only the parts of sectors at the edges
// are copied through memory of ours.
func (f *FS) readData(p []byte, off int64) error {
	unit := f.volume.BlockSize()
	for len(p) > 0 {
		in := int(off % int64(unit))
		if in == 0 && len(p) >= unit {
			n := len(p) / unit * unit
			if _, err := f.volume.ReadAt(p[:n], off); err != nil {
				return err
			}
			p, off = p[n:], off+int64(n)
			continue
		}
		b := bouncePool.Get().(*[]byte)
		_, err := f.volume.ReadAt((*b)[:unit], off-int64(in))
		n := copy(p, (*b)[in:unit])
		bouncePool.Put(b)
		if err != nil {
			return err
		}
		f.bounced.Add(1)
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Segment is a run of a file on the volume, in bytes. A hole or unwritten run
// has Offset -1 and reads as zeros.
type Segment struct {
	Offset int64 // on the volume
	Length int64
}

// Segments returns where bytes off to off+length of a file are, at most max
// runs of them, ending at the end of the file. The file's content may move
// when it is changed; the caller holds off changes meanwhile.
func (f *FS) Segments(ino uint32, off, length int64, max int) ([]Segment, error) {
	i, err := f.acquire(ino)
	if err != nil {
		return nil, err
	}
	defer f.release(i)
	if !i.d.IsRegular() || off < 0 || length < 0 || i.d.Has(disk.FlagInlineData) {
		return nil, refuse(KindInvalid, "map", ino, "")
	}
	end := min(uint64(off)+uint64(length), i.d.Size)
	var out []Segment
	for at := uint64(off); at < end && len(out) < max; {
		m, err := f.mapBlock(i, uint32(at>>f.shift))
		if err != nil {
			return nil, err
		}
		in := at & uint64(f.bs-1)
		n := min(end-at, uint64(m.Len)<<f.shift-in)
		s := Segment{Offset: -1, Length: int64(n)}
		if !m.hole() && !m.Unwritten {
			s.Offset = int64(m.Physical<<f.shift + in)
		}
		out = append(out, s)
		at += n
	}
	return out, nil
}

// SeekData returns the offset of the first data at or after off; SeekHole that
// of the first hole, the end of the file being one. Both fail with
// KindNoOffset when there is none.
func (f *FS) SeekData(ino uint32, off int64) (int64, error) { return f.seek(ino, off, true) }

// SeekHole is described with SeekData.
func (f *FS) SeekHole(ino uint32, off int64) (int64, error) { return f.seek(ino, off, false) }

func (f *FS) seek(ino uint32, off int64, data bool) (int64, error) {
	i, err := f.acquire(ino)
	if err != nil {
		return 0, err
	}
	defer f.release(i)
	if !i.d.IsRegular() || off < 0 {
		return 0, refuse(KindInvalid, "seek", ino, "")
	}
	if uint64(off) >= i.d.Size {
		return 0, refuse(KindNoOffset, "seek", ino, "")
	}
	if i.d.Has(disk.FlagInlineData) {
		if data {
			return off, nil
		}
		return int64(i.d.Size), nil
	}
	for at := uint64(off); at < i.d.Size; {
		m, err := f.mapBlock(i, uint32(at>>f.shift))
		if err != nil {
			return 0, err
		}
		if data == !(m.hole() || m.Unwritten) {
			return int64(at), nil
		}
		at = (at>>f.shift + uint64(m.Len)) << f.shift
	}
	if data {
		return 0, refuse(KindNoOffset, "seek", ino, "")
	}
	return int64(i.d.Size), nil
}

// Readlink returns the target of symbolic link ino.
func (f *FS) Readlink(ino uint32) (string, error) {
	i, err := f.acquire(ino)
	if err != nil {
		return "", err
	}
	defer f.release(i)
	if !i.d.IsSymlink() {
		return "", refuse(KindInvalid, "readlink", ino, "")
	}
	if i.d.FastSymlink(f.bs) {
		if i.d.Size == 0 || i.d.Size >= uint64(len(i.d.Block)) {
			return "", &disk.CorruptError{Structure: "symbolic link", Ino: ino, Detail: "length does not fit the inode"}
		}
		return string(i.d.Block[:i.d.Size]), nil
	}
	if i.d.Size == 0 || i.d.Size > uint64(f.bs) {
		return "", &disk.CorruptError{Structure: "symbolic link", Ino: ino, Detail: "length exceeds a block"}
	}
	if i.d.Has(disk.FlagInlineData) {
		data, err := f.inlineData(i)
		return string(data), err
	}
	m, err := f.mapBlock(i, 0)
	if err != nil {
		return "", err
	}
	if m.hole() {
		return "", &disk.CorruptError{Structure: "symbolic link", Ino: ino, Detail: "has no block"}
	}
	b, err := f.cache.Get(m.Physical, 0, nil)
	if err != nil {
		return "", err
	}
	defer b.Release()
	return string(b.Data[:i.d.Size]), nil
}
