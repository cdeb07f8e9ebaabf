package server

import (
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

const (
	// pieceBytes is how much of a region is pinned at a time. To pin memory makes it
	// resident, which takes a fraction of a millisecond for a piece and seconds for a
	// gigabyte. Transfers across the bounds of pieces go without.
	pieceBytes = 2 << 20
	// piecesMax bounds the pieces of one session that are pinned. What is used beyond
	// them is pinned by the kernel for each transfer.
	piecesMax = 32
)

// use is a region's use of one volume.
type use struct {
	volume *Volume
	pieces []piece
}

// piece is a part of a region. moved counts bytes until the device has been asked to
// pin it.
type piece struct {
	moved  int64
	asked  bool
	buffer int
}

// use returns the region's use of a volume.
func (r *region) use(v *Volume) *use {
	for i := range r.uses {
		if r.uses[i].volume == v {
			return &r.uses[i]
		}
	}
	u := use{volume: v, pieces: make([]piece, (len(r.mem)+pieceBytes-1)/pieceBytes)}
	for i := range u.pieces {
		u.pieces[i].buffer = storage.BufferNone
	}
	r.uses = append(r.uses, u)
	return &r.uses[len(r.uses)-1]
}

// part is the memory of a piece.
func (r *region) part(i int) []byte {
	from := i * pieceBytes
	return r.mem[from:min(from+pieceBytes, len(r.mem))]
}

// pin asks the device to pin a piece, once, if the session may have another; true when
// it has.
func (r *region) pin(u *use, i int) bool {
	p := &u.pieces[i]
	if p.asked || r.session.pinned >= piecesMax {
		return false
	}
	p.asked, p.buffer = true, u.volume.device.Attach(r.part(i))
	if p.buffer == storage.BufferNone {
		return false
	}
	r.session.pinned++
	return true
}

// unpin gives up all that is pinned.
func (r *region) unpin() {
	for _, u := range r.uses {
		for _, p := range u.pieces {
			if p.buffer != storage.BufferNone {
				u.volume.device.Detach(p.buffer)
				r.session.pinned--
			}
		}
	}
	r.uses = nil
}

// buffer returns the device's handle of the memory of a transfer. A piece is pinned when
// as much has moved as it holds: idle memory stays untouched, and the cost of pinning is
// spread over transfers in proportion. Until then each transfer has the kernel pin its
// own pages.
func (c *Core) buffer(s *session, r *region, v *Volume, offset, bytes int64) int {
	i, last := int(offset/pieceBytes), int((offset+bytes-1)/pieceBytes)
	if i != last {
		return storage.BufferNone
	}
	u := r.use(v)
	p := &u.pieces[i]
	if !p.asked {
		if p.moved += bytes; p.moved >= int64(len(r.part(i))) && r.pin(u, i) && c.Pinned != nil {
			c.Pinned(s.ipc, r.id, i)
		}
	}
	return p.buffer
}

// PinPiece pins a piece of a region of a known session for its volumes now, as its
// predecessor had. Pinned is not called.
func (c *Core) PinPiece(s *ipc.Session, id, piece int) {
	owner := c.byIPC[s]
	if owner == nil {
		return
	}
	if r := owner.region(id); r != nil && piece >= 0 && piece < (len(r.mem)+pieceBytes-1)/pieceBytes {
		for _, g := range owner.grants {
			r.pin(r.use(g.volume), piece)
		}
	}
}
