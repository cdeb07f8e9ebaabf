package ext4_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/quintet-os/quintet/files/ext4"
)

// file picks a regular file.
func (m *model) file() *node {
	if len(m.open) > 0 && m.rng.IntN(4) == 0 {
		return m.open[m.rng.IntN(len(m.open))]
	}
	for range 10 {
		d, name := m.pick()
		if n := d.dir[name]; n != nil && n.dir == nil && n.target == "" {
			return n
		}
	}
	return nil
}

const fileBytesMax = 2 << 20

func (m *model) extent() (off, n int) {
	off = m.rng.IntN(fileBytesMax)
	if m.rng.IntN(2) == 0 {
		off = m.rng.IntN(20000)
	}
	n = 1 + m.rng.IntN(30000)
	if m.rng.IntN(4) == 0 {
		off, n = off&^4095, (n+4095)&^4095
	}
	return off, n
}

func (n *node) grow(size int) {
	if size > len(n.data) {
		n.data = append(n.data, make([]byte, size-len(n.data))...)
	}
}

func (m *model) write() {
	n := m.file()
	if n == nil {
		return
	}
	off, size := m.extent()
	if m.rng.IntN(3) == 0 {
		off = len(n.data) // append
	}
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(m.rng.Uint32())
	}
	m.logf("write %d at %d, %d bytes", n.ino, off, size)
	_, err := m.f.WriteAt(m.op(), n.ino, p, int64(off))
	if ext4.KindOf(err) == ext4.KindNoSpace {
		return
	}
	if m.expect(err, 0) {
		n.grow(off + size)
		copy(n.data[off:], p)
	}
}

func (m *model) truncate() {
	n := m.file()
	if n == nil {
		return
	}
	size, _ := m.extent()
	m.logf("truncate %d to %d", n.ino, size)
	if m.expect(m.f.Truncate(m.op(), n.ino, int64(size)), 0) {
		n.grow(size)
		n.data = n.data[:size]
	}
}

func (m *model) fallocate() {
	n := m.file()
	if n == nil {
		return
	}
	off, size := m.extent()
	mode := ext4.FallocateMode(m.rng.IntN(3))
	keep := m.rng.IntN(2) == 0
	m.logf("fallocate %d mode %d keep %v at %d, %d bytes", n.ino, mode, keep, off, size)
	err := m.f.Fallocate(m.op(), n.ino, mode, keep, int64(off), int64(size))
	if ext4.KindOf(err) == ext4.KindNoSpace {
		if mode == ext4.ZeroRange { // zeroed, perhaps not allocated
			clear(n.data[min(off, len(n.data)):min(off+size, len(n.data))])
		}
		return
	}
	want := ext4.Kind(0)
	if m.mapped && mode != ext4.PunchHole {
		want = ext4.KindNotSupported
	}
	if !m.expect(err, want) {
		return
	}
	if mode != ext4.PunchHole && !keep {
		n.grow(off + size)
	}
	if mode != ext4.Allocate {
		clear(n.data[min(off, len(n.data)):min(off+size, len(n.data))])
	}
}

func (m *model) xattr() {
	d, name := m.pick()
	n := d.dir[name]
	if n == nil {
		return
	}
	key := fmt.Sprintf("user.k%d", m.rng.IntN(6))
	if m.rng.IntN(4) == 0 {
		m.logf("removexattr %d %s", n.ino, key)
		want := ext4.KindNoData
		if _, ok := n.xattrs[key]; ok {
			want = 0
		}
		if m.expect(m.f.RemoveXattr(m.op(), n.ino, key), want) {
			delete(n.xattrs, key)
		}
		return
	}
	value := strings.Repeat("v", m.rng.IntN(300))
	m.logf("setxattr %d %s, %d bytes", n.ino, key, len(value))
	err := m.f.SetXattr(m.op(), n.ino, key, []byte(value), 0)
	if k := ext4.KindOf(err); k == ext4.KindRange || k == ext4.KindNoSpace {
		return
	}
	if m.expect(err, 0) {
		if n.xattrs == nil {
			n.xattrs = map[string]string{}
		}
		n.xattrs[key] = value
	}
}

func (m *model) read() {
	n := m.file()
	if n == nil {
		return
	}
	off, size := m.extent()
	p := make([]byte, size)
	got, err := m.f.ReadAt(n.ino, p, int64(off))
	var want []byte
	if off < len(n.data) {
		want = n.data[off:min(len(n.data), off+size)]
	}
	if !bytes.Equal(p[:got], want) || err != nil && err != io.EOF {
		m.fail("read of inode %d at %d, %d bytes: %d bytes, %v; the model has %d", n.ino, off, size, got, err, len(want))
	}
}

func (m *model) hold() {
	n := m.file()
	if n == nil || n.held || len(m.open) > 5 {
		return
	}
	m.logf("hold %d", n.ino)
	m.expect(m.f.Hold(n.ino), 0)
	n.held = true
	m.open = append(m.open, n)
}

func (m *model) release() {
	if len(m.open) == 0 {
		return
	}
	k := m.rng.IntN(len(m.open))
	n := m.open[k]
	m.logf("release %d", n.ino)
	m.expect(m.f.Release(m.op(), n.ino), 0)
	n.held = false
	m.open = slices.Delete(m.open, k, k+1)
}

func (m *model) sync() {
	if m.rng.IntN(10) == 0 {
		m.logf("sync")
		m.expect(m.f.Sync(), 0)
	}
}
