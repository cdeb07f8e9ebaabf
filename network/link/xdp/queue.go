package xdp

import (
	"errors"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/xsk"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/segment"
)

// kicksMax bounds the system calls of one kick: the kernel sends 32 frames a call
// when it copies.
const kicksMax = chunksMax/32 + 8

// queue is one socket with its UMEM. The first half of the chunks is for receiving:
// each is in the fill ring, with the kernel, in the receive ring, or held. The second
// is for sending: each is free, in the transmit ring, with the kernel, or in the
// completion ring.
type queue struct {
	fd     int
	umem   []byte
	socket *xsk.Socket
	held   []uint64 // received, and shown to the caller
	free   []uint64 // numbers of chunks for sending
	isFree [chunksMax]bool
	joined [link.BatchMax][]byte // frames that came in several pieces, put together; made when one comes
}

func newQueue(d Queue) (*queue, error) {
	q := &queue{fd: d.Socket}
	var err error
	if q.umem, err = unix.Map(d.Memory, umemBytes, true, true); err != nil {
		return nil, err
	}
	if q.socket, err = xsk.Map(d.Socket, chunksMax); err != nil {
		return nil, errors.Join(err, unix.Unmap(q.umem))
	}
	q.recover()
	return q, nil
}

// recover finds out which chunks are free: those that have no place anywhere.
func (q *queue) recover() {
	var known [2 * chunksMax]bool
	fresh := true
	see := func(addr uint64) { known[addr/chunkBytes] = true }
	q.socket.Pending(func(addr uint64) { see(addr); fresh = false }, see)
	for i := range uint64(chunksMax) {
		// A driver that does not copy has taken chunks out of the ring in advance.
		if !known[i] && (fresh || !q.socket.ZeroCopy()) {
			q.socket.Fill(i * chunkBytes)
		}
		if !known[chunksMax+i] {
			q.release((chunksMax + i) * chunkBytes)
		}
	}
	q.socket.FillPublish()
}

// release makes a chunk free. It may be free already if a predecessor had it sent
// and died.
func (q *queue) release(addr uint64) {
	if i := addr/chunkBytes - chunksMax; i < chunksMax && !q.isFree[i] {
		q.isFree[i] = true
		q.free = append(q.free, i)
	}
}

func (q *queue) take() uint64 {
	i := q.free[len(q.free)-1]
	q.free = q.free[:len(q.free)-1]
	q.isFree[i] = false
	return (chunksMax + i) * chunkBytes
}

// refill gives back to the kernel what the caller has seen.
func (q *queue) refill() {
	for _, addr := range q.held {
		q.socket.Fill(addr)
	}
	q.held = q.held[:0]
	q.socket.FillPublish()
	if q.socket.ReceiveAsleep() {
		_ = q.socket.KickReceive() // whatever is wrong, transmission will tell
	}
}

// receive fills frames. A frame in several pieces is in the ring whole or not at all.
func (q *queue) receive(frames []link.Frame) (n int) {
	var joining []byte
	for n < len(frames) {
		d, ok := q.socket.Next()
		if !ok {
			break
		}
		q.held = append(q.held, d.Addr&^uint64(chunkBytes-1))
		piece := q.umem[d.Addr : d.Addr+uint64(d.Len) : d.Addr+uint64(d.Len)]
		last := d.Options&xsk.Continued == 0
		switch {
		case joining != nil:
			joining = append(joining, piece[:min(len(piece), cap(joining)-len(joining))]...)
		case !last:
			if q.joined[n] == nil {
				q.joined[n] = make([]byte, 0, network.FrameBytesMax)
			}
			joining = append(q.joined[n][:0], piece...)
		default:
			joining = piece
		}
		if last {
			frames[n] = link.Frame{Head: joining}
			joining = nil
			n++
		}
	}
	q.socket.NextRelease()
	return n
}

// room tells whether so many pieces can be sent.
func (q *queue) room(pieces int) bool {
	if len(q.free) < pieces || q.socket.Free() < pieces {
		for addr, ok := q.socket.Completed(); ok; addr, ok = q.socket.Completed() {
			q.release(addr)
		}
		q.socket.CompletedRelease()
	}
	return len(q.free) >= pieces && q.socket.Free() >= pieces
}

// send queues all frames of c, for which there must be room. Frames longer than a
// chunk pass through scratch.
func (q *queue) send(c *segment.Cutter, scratch []byte) {
	for range c.Frames() {
		if c.Longest() <= chunkBytes {
			addr := q.take()
			q.socket.Send(xsk.Desc{Addr: addr, Len: uint32(c.Next(q.umem[addr : addr+chunkBytes]))})
			continue
		}
		for rest := scratch[:c.Next(scratch)]; len(rest) > 0; {
			addr := q.take()
			d := xsk.Desc{Addr: addr, Len: uint32(copy(q.umem[addr:addr+chunkBytes], rest))}
			if rest = rest[d.Len:]; len(rest) > 0 {
				d.Options = xsk.Continued
			}
			q.socket.Send(d)
		}
	}
}

// kick has the kernel send what is queued, or as much as it has room for.
func (q *queue) kick() error {
	q.socket.SendPublish()
	for range kicksMax {
		if q.socket.Unsent() == 0 || !q.socket.SendAsleep() {
			return nil
		}
		switch err := q.socket.KickSend(); err {
		case nil, unix.ErrAgain:
		case unix.ErrBusy, unix.ErrNoBuffers:
			return nil
		default:
			return err
		}
	}
	return nil
}

func (q *queue) close() error { return errors.Join(q.socket.Unmap(), unix.Unmap(q.umem)) }
