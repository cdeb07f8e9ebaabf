//go:build simulator

package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

// requestBlocksMax is the length of the longest request, in blocks.
const requestBlocksMax = 3

// client is one application process.
type client struct {
	world        *world
	number       int
	writes       int
	geometry     ipc.Geometry
	mine, theirs []byte // segments
	region       []byte
	doorbell     int
	ipc          *ipc.Client

	issued, answered int
	calls            []*call
	buffers          []int // free places in region

	hostile  bool // it has broken the protocol
	ended    bool // the server has told the supervisor so
	dead     bool
	gone     bool // no server will be told of it any more
	released bool // the server has let go of its memory
}

// call is one request in flight.
type call struct {
	ipc     *ipc.Call
	request storage.Request
	buffer  int
	value   uint64 // of a write
	began   int64
	deaths  int // of servers, before
	effects int
	last    storage.Completion // what the device said last
}

func newClient(w *world, number int) (*client, error) {
	c := &client{world: w, number: number, geometry: ipc.Geometry{Slots: w.plan.Slots}}
	c.mine, c.theirs = make([]byte, c.geometry.ClientBytes()), make([]byte, c.geometry.ServerBytes())
	c.region = make([]byte, w.plan.Slots*requestBlocksMax*blockBytes)
	for i := range w.plan.Slots {
		c.buffers = append(c.buffers, i)
	}
	var err error
	if c.doorbell, err = unix.CreateEventfd(); err != nil {
		return nil, err
	}
	if err := errors.Join(ipc.FormatClient(c.mine, c.geometry), ipc.FormatServer(c.theirs, c.geometry)); err != nil {
		return nil, err
	}
	c.ipc, err = ipc.NewClient(ipc.ClientConfig{Geometry: c.geometry, Client: c.mine, Server: c.theirs, Doorbell: c.doorbell})
	return c, err
}

func (c *client) finished() bool { return c.answered == c.world.plan.Requests }

// step submits a request or looks for a reply.
func (c *client) step() {
	w := c.world
	if w.plan.Hostile >= c.number && !c.hostile && c.issued > w.plan.Requests/2 && len(c.buffers) > 0 {
		c.breakProtocol()
		return
	}
	if c.hostile {
		return
	}
	if c.issued < w.plan.Requests && len(c.buffers) > 0 && (len(c.calls) == 0 || w.rng.IntN(2) == 0) {
		k := c.prepare()
		if w.guard(&c.writes, c.number, w.plan.Clients, func() { c.submit(k) }) {
			c.dead = true
			w.result.ClientDeaths++
			w.trace("client dies", c.number, c.writes)
		}
		return
	}
	if len(c.calls) == 0 {
		return
	}
	i := w.rng.IntN(len(c.calls))
	k := c.calls[i]
	if !k.ipc.Done() {
		return
	}
	var words ipc.Words
	if err := k.ipc.Wait(context.Background(), &words); err != nil {
		w.fail(fmt.Errorf("client %d: %w", c.number, err))
		return
	}
	c.calls = append(c.calls[:i], c.calls[i+1:]...)
	c.judge(k, &words)
	c.buffers = append(c.buffers, k.buffer)
	c.answered++
}

// breakProtocol submits a request that ends the session: one that means nothing,
// or one whose sequence number is out of order.
func (c *client) breakProtocol() {
	w := c.world
	c.hostile = true
	words := ipc.Words{math.MaxUint64, 1: uint64(c.number)}
	if _, err := c.ipc.Start(context.Background(), &words); err != nil {
		w.fail(fmt.Errorf("client %d: %w", c.number, err))
	}
	if w.rng.IntN(2) == 0 {
		return
	}
	const recordBytes = 64 // sequence number, then payload
	for at := 0; at < len(c.mine); at += recordBytes {
		if seq := c.mine[at : at+8]; binary.LittleEndian.Uint64(c.mine[at+8:]) == math.MaxUint64 {
			binary.LittleEndian.PutUint64(seq, binary.LittleEndian.Uint64(seq)+5)
		}
	}
}

// prepare makes up a request.
func (c *client) prepare() *call {
	w := c.world
	k := &call{began: w.tick(), deaths: len(w.result.ServerWrites)}
	k.buffer, c.buffers = c.buffers[0], c.buffers[1:]
	c.issued++
	blocks := 1 + w.rng.IntN(requestBlocksMax)
	k.request = storage.Request{Region: 1, RegionOffset: int64(k.buffer) * requestBlocksMax * blockBytes,
		Offset: int64(w.rng.IntN(w.plan.Blocks-blocks+1)) * blockBytes, Length: int64(blocks) * blockBytes}
	switch n := w.rng.IntN(10); {
	case n == 0:
		k.request = storage.Request{Op: storage.OpFlush}
	case n == 1:
		op := storage.OpDiscard + storage.Op(w.rng.IntN(2)) // or write-zeroes
		if w.zeroing(op, k.request.Offset, k.request.Length) {
			k.request = storage.Request{Op: storage.OpFlush} // two that are alike could not be told apart
			break
		}
		k.request.Op, k.request.Region, k.request.RegionOffset = op, 0, 0
		w.value++
		k.value = zeroMark | w.value
		w.eachBlock(k, func(h *History, _ []byte) error { h.WriteBegins(k.value, k.began); return nil }, nil)
	case n < 5:
		k.request.Op = storage.OpRead
		clear(c.memory(k))
	default:
		k.request.Op = storage.OpWrite
		w.value++
		k.value = w.value
		for b := c.memory(k); len(b) > 0; b = b[8:] {
			binary.LittleEndian.PutUint64(b, k.value)
		}
		w.eachBlock(k, func(h *History, _ []byte) error { h.WriteBegins(k.value, k.began); return nil }, nil)
	}
	return k
}

// zeroes tells whether k is a discard or write-zeroes of that range.
func (k *call) zeroes(op storage.Op, offset, length int64) bool {
	return k.request.Op == op && !op.Transfers() && k.request.Offset == offset && k.request.Length == length
}

// zeroing tells whether such a request is in flight.
func (w *world) zeroing(op storage.Op, offset, length int64) bool {
	for _, c := range w.clients {
		for _, k := range c.calls {
			if k.zeroes(op, offset, length) {
				return true
			}
		}
	}
	return false
}

func (c *client) memory(k *call) []byte {
	return c.region[k.request.RegionOffset : k.request.RegionOffset+k.request.Length]
}

func (c *client) submit(k *call) {
	words := ipc.Words(k.request.Encode())
	c.calls = append(c.calls, k)
	var err error
	// A slot is free, so this does not block.
	if k.ipc, err = c.ipc.Start(context.Background(), &words); err != nil {
		c.world.fail(fmt.Errorf("client %d: %w", c.number, err))
	}
}

// judge compares a reply with what was asked and with the other clients' view.
func (c *client) judge(k *call, words *ipc.Words) {
	w := c.world
	now := w.tick()
	reply := storage.DecodeReply((*[7]uint64)(words), k.request.Length)
	deaths := len(w.result.ServerWrites) - k.deaths
	w.trace("reply", c.number, int(reply.Kind))
	switch {
	case reply.Kind == storage.KindPoison && deaths >= ipc.PoisonAttempts:
		w.result.Poisoned++
		return
	case k.effects > 0 && k.request.Op != storage.OpFlush && (reply.Kind != k.last.Kind || reply.Errno != k.last.Errno || reply.Done != k.last.Done):
		w.fail(fmt.Errorf("client %d: %v was answered %+v, but the device said %+v", c.number, k.request, reply, k.last))
		return
	case reply.Kind == storage.KindIO && k.last.Kind == storage.KindIO:
		w.result.Failed++ // what it was to write may or may not be there
		return
	case reply.Kind != storage.KindOK:
		w.fail(fmt.Errorf("client %d: %v was answered %v after %d deaths", c.number, k.request, reply.Kind, deaths))
		return
	case k.effects < 1 || k.effects > 1+deaths && k.request.Op != storage.OpFlush:
		w.fail(fmt.Errorf("client %d: %v took effect %d times in %d deaths", c.number, k.request, k.effects, deaths))
		return
	}
	w.result.Answered++
	if k.request.Op != storage.OpFlush {
		w.result.Replayed += k.effects - 1
	}
	switch k.request.Op {
	case storage.OpWrite, storage.OpDiscard, storage.OpWriteZeroes:
		w.eachBlock(k, func(h *History, _ []byte) error { h.WriteEnds(k.value, now); return nil }, nil)
	case storage.OpRead:
		w.eachBlock(k, func(h *History, block []byte) error {
			v := binary.LittleEndian.Uint64(block)
			for b := block; len(b) > 0; b = b[8:] {
				if other := binary.LittleEndian.Uint64(b); other != v {
					return fmt.Errorf("read a torn block: %#x and %#x", v, other)
				}
			}
			return h.Read(v, k.began, now)
		}, c.memory(k))
	}
}
