//go:build simulator

package sim

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime/debug"

	"github.com/quintet-os/quintet/internal/crashpoint"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

// turnsPerRequest bounds a run: nobody who makes progress needs as many.
const turnsPerRequest = 3000

// Plan determines a run.
type Plan struct {
	Seed     uint64
	Sessions int // clients
	Slots    int // of each
	Requests int // of each
	Blocks   int // of the volume
	Limit    int // requests of a session in flight; 0: the server's default
	Servers  Deaths
	Clients  Deaths
	Faults   float64 // probability that an operation of the device fails, short
	Hostile  int     // so many clients break the protocol halfway
	Upgrades int     // servers that are drained and replaced
	NoFence  bool    // a successor does not wait for its predecessor's operations
}

// Deaths says who dies where. The zero value kills nobody.
type Deaths struct {
	// At[n] is the write to shared memory, counted from 1, before which the n-th
	// dies, counted from 1; 0 and missing ones do not die there.
	At map[int]int
	// Chance is the probability of a death at each write, while fewer than Max
	// have died.
	Chance float64
	Max    int
}

// Result tells what happened.
type Result struct {
	ServerWrites []int // of each server that died, and last the survivor's
	ClientWrites []int
	ClientDeaths int
	Answered     int
	Replayed     int // executions beyond the first
	Poisoned     int
	Faults       int // operations of the device that failed
	Failed       int // requests answered with an error of the device
	Ended        int // sessions ended by the server
	Upgrades     int
	Trace        uint64 // hash of all events
}

// world is one run.
type world struct {
	plan       Plan
	rng        *rand.Rand
	now        int64
	disk       *disk
	clients    []*client
	server     *incarnation
	generation int
	histories  []*History
	value      uint64 // written last
	killed     int    // by chance
	result     Result
	err        error
	hash       interface {
		Write([]byte) (int, error)
		Sum64() uint64
	}
}

// death is what a hook panics with.
type death struct{}

// Run plays a plan to the end: all clients answered or dead.
func Run(p Plan) (Result, error) {
	w := &world{plan: p, rng: rand.New(rand.NewPCG(p.Seed, 0x73696d)), hash: fnv.New64a()}
	w.disk = &disk{world: w, data: make([]byte, p.Blocks*blockBytes)}
	for range p.Blocks {
		w.histories = append(w.histories, NewHistory())
	}
	defer w.close()
	for i := range p.Sessions {
		c, err := newClient(w, i+1)
		if err != nil {
			return w.result, err
		}
		w.clients = append(w.clients, c)
	}
	turnsMax := 20_000 + turnsPerRequest*p.Sessions*p.Requests
	for turn := 0; w.err == nil && !w.over(); turn++ {
		if turn == turnsMax {
			w.fail(w.hang())
			break
		}
		w.turn()
	}
	for i, h := range w.histories {
		if err := h.Check(); err != nil {
			w.fail(fmt.Errorf("block %d: %w", i, err))
		}
	}
	if w.server != nil {
		w.result.ServerWrites = append(w.result.ServerWrites, w.server.writes)
	}
	for _, c := range w.clients {
		w.result.ClientWrites = append(w.result.ClientWrites, c.writes)
	}
	w.result.Trace = w.hash.Sum64()
	return w.result, w.err
}

// turn lets a random side do one step.
func (w *world) turn() {
	w.now++
	switch n := w.rng.IntN(len(w.clients) + 3); {
	case n < len(w.clients):
		c := w.clients[n]
		if c.ended {
			w.endOf(c)
		} else if !c.dead {
			c.step()
		} else if !c.gone && w.rng.IntN(8) == 0 {
			w.bury(c)
		}
	case n == len(w.clients):
		if len(w.disk.running) > 0 {
			w.disk.step()
		}
	case w.server != nil:
		w.server.step()
	case w.plan.NoFence || len(w.disk.running) == 0:
		w.birth()
	}
}

// endOf does what the supervisor does when a server has ended a session.
func (w *world) endOf(c *client) {
	if c.gone {
		return
	}
	if err := c.ipc.Err(); !errors.Is(err, ipc.ErrSession) {
		w.fail(fmt.Errorf("client %d broke the protocol, its session was ended, and it sees %v", c.number, err))
	}
	w.result.Ended++
	w.bury(c)
}

// bury does what the supervisor does when a client has died. Without a server
// nobody holds its memory but the device, and the fence waits for that.
func (w *world) bury(c *client) {
	c.gone = true
	if w.server != nil && w.server.byClient[c] != nil {
		w.server.drop(c)
	}
}

func (w *world) over() bool {
	for _, c := range w.clients {
		if !c.finished() && !c.gone {
			return false
		}
	}
	return len(w.disk.running) == 0
}

func (w *world) hang() error {
	var who []int
	for _, c := range w.clients {
		if !c.finished() && !c.dead {
			who = append(who, c.number)
		}
	}
	state := "no server"
	if w.server != nil {
		state = fmt.Sprintf("server %d, asleep=%v, %d active sessions", w.server.number, w.server.asleep, len(w.server.sessions.Active()))
	}
	return fmt.Errorf("clients %v hang: %s, %d operations in the device", who, state, len(w.disk.running))
}

// guard runs f as one side and tells whether it died. It counts the side's
// writes, and kills it where the plan says so.
func (w *world) guard(writes *int, number int, deaths Deaths, f func()) (died bool) {
	crashpoint.Hook = func() {
		*writes++
		if deaths.At[number] == *writes {
			panic(death{})
		}
		if deaths.Chance > 0 && w.killed < deaths.Max && w.rng.Float64() < deaths.Chance {
			w.killed++
			panic(death{})
		}
	}
	defer func() {
		crashpoint.Hook = nil
		switch r := recover().(type) {
		case nil:
		case death:
			died = true
		default:
			w.fail(fmt.Errorf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	f()
	return false
}

// released tells whether mem belongs to a client whose session has ended.
func (w *world) released(mem []byte) bool {
	for _, c := range w.clients {
		if c.released && inside(c.region, mem) {
			return true
		}
	}
	return false
}

// inside tells whether part is a slice of whole.
func inside(whole, part []byte) bool {
	for i := 0; i < len(whole); i += blockBytes {
		if &whole[i] == &part[0] {
			return true
		}
	}
	return false
}

// executed counts an effect for the request that the operation belongs to.
func (w *world) executed(op *storage.Operation, end *storage.Completion) {
	w.trace("executed", int(op.Op), int(op.Offset))
	for _, c := range w.clients {
		for _, k := range c.calls {
			if op.Op == storage.OpFlush && k.request.Op == storage.OpFlush {
				k.effects++ // flushes have no identity: one counts for all in flight
			} else if len(op.Mem) > 0 && k.request.Op == op.Op && &c.memory(k)[0] == &op.Mem[0] ||
				op.Op.Ranged() && k.zeroes(op.Op, op.Offset, op.Length) {
				k.effects++
				k.last = *end
			}
		}
	}
}

// eachBlock calls f with the history of each block of a request, and the block's
// part of mem.
func (w *world) eachBlock(k *call, f func(h *History, block []byte) error, mem []byte) {
	for i := int64(0); i < k.request.Length; i += blockBytes {
		var block []byte
		if mem != nil {
			block = mem[i : i+blockBytes]
		}
		at := (k.request.Offset + i) / blockBytes
		if err := f(w.histories[at], block); err != nil {
			w.fail(fmt.Errorf("block %d: %w", at, err))
		}
	}
}

func (w *world) tick() int64 {
	w.now++
	return w.now
}

func (w *world) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *world) trace(what string, a, b int) {
	fmt.Fprintln(w.hash, what, w.now, a, b)
}

// close gives back what the run held of the host.
func (w *world) close() {
	for _, c := range w.clients {
		if err := c.ipc.Close(); err != nil {
			w.fail(err)
		}
		if err := unix.Close(c.doorbell); err != nil {
			w.fail(err)
		}
	}
	if w.server != nil {
		if err := w.server.epoll.Close(); err != nil {
			w.fail(err)
		}
	}
}
