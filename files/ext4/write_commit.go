package ext4

// Segments says where the bytes of the write go, in order. Whole blocks of new
// pieces must be written; what is not the write's in them, as zeros.
func (w *Write) Segments() []Segment {
	var out []Segment
	for _, p := range w.pieces {
		start := uint64(p.Logical) << w.f.shift
		lo, hi := max(start, w.off), min(start+uint64(p.Len)<<w.f.shift, w.end)
		out = append(out, Segment{Offset: int64(p.Physical<<w.f.shift + lo - start), Length: int64(hi - lo)})
	}
	return out
}

// fill puts the data in place.
func (w *Write) fill(data []byte) error {
	f := w.f
	for _, p := range w.pieces {
		start := uint64(p.Logical) << f.shift
		lo, hi := max(start, w.off), min(start+uint64(p.Len)<<f.shift, w.end)
		part := data[lo-w.off : hi-w.off]
		at := int64(p.Physical<<f.shift + lo - start)
		var err error
		if p.fresh || p.Unwritten {
			err = f.writeFresh(part, at)
		} else {
			err = f.writeData(part, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeFresh writes into blocks that hold nothing yet: the rest of the first
// and the last is zeroed.
func (f *FS) writeFresh(p []byte, off int64) error {
	for len(p) > 0 {
		in := int(off & int64(f.bs-1))
		if in == 0 && len(p) >= f.bs {
			n := len(p) &^ (f.bs - 1)
			if _, err := f.volume.WriteAt(p[:n], off); err != nil {
				return err
			}
			p, off = p[n:], off+int64(n)
			continue
		}
		n, err := f.bounce(f.bs, p, in, off, false)
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// bounce writes the unit around off through memory of ours.
func (f *FS) bounce(unit int, p []byte, in int, off int64, keep bool) (int, error) {
	b := bouncePool.Get().(*[]byte)
	defer bouncePool.Put(b)
	buf := (*b)[:unit]
	if keep {
		if _, err := f.volume.ReadAt(buf, off-int64(in)); err != nil {
			return 0, err
		}
	} else {
		clear(buf)
	}
	n := copy(buf[in:], p)
	f.bounced.Add(1)
	_, err := f.volume.WriteAt(buf, off-int64(in))
	return n, err
}

// writeData writes bytes of the volume, keeping what is around them.
func (f *FS) writeData(p []byte, off int64) error {
	unit := f.volume.BlockSize()
	for len(p) > 0 {
		in := int(off % int64(unit))
		if in == 0 && len(p) >= unit {
			n := len(p) / unit * unit
			if _, err := f.volume.WriteAt(p[:n], off); err != nil {
				return err
			}
			p, off = p[n:], off+int64(n)
			continue
		}
		n, err := f.bounce(unit, p, in, off, true)
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Abort gives up a prepared write: the file is as before.
func (w *Write) Abort() {
	for _, p := range w.pieces {
		if p.fresh {
			w.f.unhold(span{p.Physical, p.Len})
		}
	}
	w.pieces = nil
	w.promise.release()
	w.op.gaveBack()
	w.unlock()
}

// Written is how many bytes, from the start of the write, Commit has made part of the
// file: all, or fewer after an error.
func (w *Write) Written() int { return int(w.written) }

// Commit makes the blocks part of the file, once their data has been written.
// The write is durable after Sync. Errors: KindNoSpace when there is no room for what
// leads to the blocks; Written tells how far it came.
func (w *Write) Commit() error {
	f, i := w.f, w.i
	defer w.unlock()
	defer w.promise.release()
	if w.written >= w.end-w.off { // a replay with nothing left to do
		return nil
	}
	// What is inserted comes in the order of the file, the size following it, so
	// that each transaction leaves the file whole.
	k := 0
	for first := true; first || k < len(w.pieces); first = false {
		batch := 0
		to := k
		for to < len(w.pieces) && batch < piecesPerTransaction {
			if w.pieces[to].fresh || w.pieces[to].Unwritten {
				batch++
			}
			to++
		}
		if first && batch == 0 && to == len(w.pieces) && w.end <= i.d.Size && !w.rights.any() && w.op.Now.Sub(i.d.Mtime.Time()).Abs() < timeGranularity {
			w.written = w.end - w.off
			return nil
		}
		if err := w.commit(k, to, batch); err != nil {
			// Blocks of this batch may be half part of the file: the journal was
			// aborted if so. The others are given back.
			for _, p := range w.pieces[to:] {
				if p.fresh {
					f.unhold(span{p.Physical, p.Len})
				}
			}
			w.op.gaveBack()
			return err
		}
		k = to
	}
	if w.short {
		return refuse(KindNoSpace, "write", i.ino, "")
	}
	return nil
}

func (w *Write) commit(from, to, changes int) error {
	f, i := w.f, w.i
	claim := 0
	if changes > 0 {
		claim = claimExtent * changes
	}
	t, err := f.begin(w.op, creditsInode+creditsExtent*changes+w.rights.credits(), claim+w.rights.blocks())
	if err != nil {
		for _, p := range w.pieces[from:to] {
			if p.fresh {
				f.unhold(span{p.Physical, p.Len})
			}
		}
		return err
	}
	t.promise = w.promise
	end := w.end
	for _, p := range w.pieces[from:to] {
		if err == nil {
			err = w.attach(t, p)
		}
		end = min(w.end, (uint64(p.Logical)+uint64(p.Len))<<f.shift)
	}
	i.d.Size = max(i.d.Size, end)
	i.d.Mtime, i.d.Ctime = t.now, t.now
	if err == nil {
		err = t.take(i, &w.rights)
	}
	if err == nil {
		err = t.writeInode(i)
	}
	t.came(end - w.off)
	if err := t.end(err); err != nil {
		return err
	}
	w.written = end - w.off
	return nil
}

// attach makes one piece part of the file.
func (w *Write) attach(t *tx, p piece) error {
	switch {
	case p.fresh:
		if err := t.use(span{p.Physical, p.Len}); err != nil {
			return err
		}
		w.op.took()
		t.addBlocks(w.i, int64(p.Len))
		return t.mapRun(w.i, p.Logical, p.Len, p.Physical)
	case p.Unwritten:
		return t.setWritten(w.i, p.Logical, uint64(p.Logical)+uint64(p.Len))
	}
	return nil
}

// zeroTail clears what the last block holds beyond the end of the file, before
// the file grows past it to a write at off. It needs i.mu.
func (f *FS) zeroTail(op *Op, i *inode, off uint64) error {
	size := i.d.Size
	in := size & uint64(f.bs-1)
	if off <= size || in == 0 {
		return nil
	}
	return f.zeroRange(op, i, size, min(off, size-in+uint64(f.bs)))
}

// zeroRange writes zeros over the written blocks of a range within one block. A replay
// does not: they were written then, and what has been written since must stay.
func (f *FS) zeroRange(op *Op, i *inode, from, to uint64) error {
	if from >= to || op.Replay {
		return nil
	}
	m, err := f.mapBlock(i, uint32(from>>f.shift))
	if err != nil || m.hole() || m.Unwritten {
		return err
	}
	b := bouncePool.Get().(*[]byte)
	defer bouncePool.Put(b)
	zeros := (*b)[:to-from]
	clear(zeros)
	return f.writeData(zeros, int64(m.Physical<<f.shift+from&uint64(f.bs-1)))
}
