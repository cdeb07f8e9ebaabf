package ext4_test

import (
	"fmt"
	"strings"

	"github.com/quintet-os/quintet/files/ext4"
)

func (m *model) logf(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

func (m *model) add(d *node, name string, make func() (ext4.Attr, error), n *node) {
	a, err := make()
	want := ext4.Kind(0)
	if d.dir[name] != nil {
		want = ext4.KindExist
	}
	if ext4.KindOf(err) == ext4.KindNoSpace && want == 0 {
		return
	}
	if m.expect(err, want) {
		n.ino, n.up = a.Ino, d
		d.dir[name] = n
		if n.dir != nil {
			d.links++
		}
	}
}

// look finds names, twice, since the second time they may be known.
func (m *model) look() {
	d, name := m.pick()
	for range 2 {
		want, ino := ext4.KindNotExist, uint32(0)
		if n := d.dir[name]; n != nil {
			want, ino = 0, n.ino
		}
		got, err := m.f.Lookup(d.ino, name)
		if m.expect(err, want) && got != ino {
			m.fail("%s in %d is inode %d, the model says %d", name, d.ino, got, ino)
		}
	}
}

func (m *model) create() {
	d, name := m.pick()
	m.logf("create %d %s", d.ino, name)
	m.add(d, name, func() (ext4.Attr, error) { return m.f.Create(m.op(), d.ino, name, 0o644) }, &node{links: 1})
}

func (m *model) mkdir() {
	d, name := m.pick()
	m.logf("mkdir %d %s", d.ino, name)
	m.add(d, name, func() (ext4.Attr, error) { return m.f.Mkdir(m.op(), d.ino, name, 0o755) }, &node{links: 2, dir: map[string]*node{}})
}

func (m *model) symlink() {
	d, name := m.pick()
	target := strings.Repeat("t", 1+m.rng.IntN(200))
	m.logf("symlink %d %s", d.ino, name)
	m.add(d, name, func() (ext4.Attr, error) { return m.f.Symlink(m.op(), d.ino, name, target) }, &node{links: 1, target: target})
}

func (m *model) link() {
	d, name := m.pick()
	d2, name2 := m.pick()
	n := d2.dir[name2]
	if n == nil {
		return
	}
	m.logf("link %d to %d %s", n.ino, d.ino, name)
	err := m.f.Link(m.op(), n.ino, d.ino, name)
	want := ext4.Kind(0)
	switch {
	case d.dir[name] != nil:
		want = ext4.KindExist
	case n.dir != nil:
		want = ext4.KindPermission
	}
	if ext4.KindOf(err) == ext4.KindNoSpace && want != ext4.KindExist {
		return
	}
	if m.expect(err, want) {
		d.dir[name] = n
		n.links++
	}
}

func (m *model) unlink() {
	d, name := m.pick()
	n := d.dir[name]
	m.logf("unlink %d %s", d.ino, name)
	err := m.f.Unlink(m.op(), d.ino, name)
	want := ext4.Kind(0)
	switch {
	case n == nil:
		want = ext4.KindNotExist
	case n.dir != nil:
		want = ext4.KindIsDir
	}
	if m.expect(err, want) {
		delete(d.dir, name)
		n.links--
	}
}

func (m *model) rmdir() {
	d, name := m.pick()
	n := d.dir[name]
	m.logf("rmdir %d %s", d.ino, name)
	err := m.f.Rmdir(m.op(), d.ino, name)
	want := ext4.Kind(0)
	switch {
	case n == nil:
		want = ext4.KindNotExist
	case n.dir == nil:
		want = ext4.KindNotDir
	case len(n.dir) > 0:
		want = ext4.KindNotEmpty
	}
	if m.expect(err, want) {
		delete(d.dir, name)
		d.links--
		n.links = 0
	}
}

// below reports whether d is n or lies below it.
func below(d, n *node) bool {
	for ; d != nil; d = d.up {
		if d == n {
			return true
		}
	}
	return false
}

func (m *model) rename() {
	d1, n1 := m.pick()
	d2, n2 := m.pick()
	if m.rng.IntN(3) == 0 {
		d2, n2 = d1, m.name(d1)
	}
	flags := []ext4.RenameFlags{0, 0, ext4.NoReplace, ext4.Exchange}[m.rng.IntN(4)]
	a, b := d1.dir[n1], d2.dir[n2]
	m.logf("rename %d %s to %d %s flags %d", d1.ino, n1, d2.ino, n2, flags)
	err := m.f.Rename(m.op(), d1.ino, n1, d2.ino, n2, flags)
	want := ext4.Kind(0)
	switch {
	case a == nil:
		want = ext4.KindNotExist
	case flags == ext4.NoReplace && b != nil:
		want = ext4.KindExist
	case flags == ext4.Exchange && b == nil:
		want = ext4.KindNotExist
	case a.dir != nil && d1 != d2 && below(d2, a):
		want = ext4.KindInvalid
	case b != nil && b.dir != nil && d1 != d2 && below(d1, b):
		want = ext4.KindNotEmpty
		if flags == ext4.Exchange {
			want = ext4.KindInvalid
		}
	case a == b:
		m.expect(err, 0)
		return
	case flags == ext4.Exchange:
	case b == nil:
	case a.dir != nil && b.dir == nil:
		want = ext4.KindNotDir
	case a.dir == nil && b.dir != nil:
		want = ext4.KindIsDir
	case len(b.dir) > 0:
		want = ext4.KindNotEmpty
	}
	if ext4.KindOf(err) == ext4.KindNoSpace && want == 0 {
		return
	}
	if !m.expect(err, want) {
		return
	}
	move := func(n, from, to *node) {
		if n.dir != nil {
			from.links--
			to.links++
			n.up = to
		}
	}
	move(a, d1, d2)
	d2.dir[n2] = a
	switch {
	case flags == ext4.Exchange:
		move(b, d2, d1)
		d1.dir[n1] = b
	default:
		delete(d1.dir, n1)
		if b != nil {
			b.links--
			if b.dir != nil {
				d2.links--
				b.links = 0
			}
		}
	}
}
