//go:build simulator

package sim

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quintet-os/quintet/internal/crashpoint"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
)

// requesting is a run in which a requester asks a server for the values 1 to wanted, and
// either of them dies, once or twice, at a write to shared memory.
type requesting struct {
	t            *testing.T
	rng          *rand.Rand
	g            ipc.Geometry
	mine, theirs []byte
	bell         int
	doorbell     int
	rung         map[int32]bool // what epoll has said

	requester *ipc.Requester // nil: dead
	server    *ipc.Session   // likewise
	sessions  *ipc.Sessions
	births    uint64 // of servers
	asleep    [2]bool

	deathAt [2]map[int]bool // writes, counted over all incarnations of a side
	writes  [2]int
	deaths  [2]int

	asked    uint64            // values known to be submitted
	executed map[uint64]int    // by value
	polled   map[uint64]int    // likewise
	flying   map[int]uint64    // value by slot
	taken    map[int]ipc.Words // requests that the server has not answered, by slot
}

const requester, answerer = 0, 1

// side runs f as one of the two, and tells whether it died.
func (r *requesting) side(which int, f func()) (died bool) {
	crashpoint.Hook = func() {
		r.writes[which]++
		if r.deathAt[which][r.writes[which]] {
			panic(death{})
		}
	}
	defer func() {
		crashpoint.Hook = nil
		if p := recover(); p != nil {
			if _, is := p.(death); !is {
				panic(p)
			}
			died = true
			r.deaths[which]++
			r.asleep[which] = false
		}
	}()
	f()
	return false
}

// turnRequester lets the requester live for a turn.
func (r *requesting) turnRequester(wanted uint64) {
	if r.requester == nil {
		next, err := ipc.NewRequester(ipc.RequesterConfig{Geometry: r.g, Client: r.mine, Server: r.theirs, Doorbell: r.doorbell, Bell: r.bell})
		if err != nil {
			r.t.Fatal(err)
		}
		if r.side(requester, next.Attach) {
			return
		}
		r.requester = next
		// What is in flight has been submitted; so has what was executed.
		clear(r.flying)
		for slot := range r.g.Slots {
			if words, flying := next.Flying(slot); flying {
				r.flying[slot] = words[0]
				r.asked = max(r.asked, words[0])
			}
		}
		for value := range r.executed {
			r.asked = max(r.asked, value)
		}
	}
	if r.asleep[requester] && !r.rung[requester] {
		return
	}
	died := r.side(requester, func() {
		q := r.requester
		if r.asleep[requester] {
			r.asleep[requester], r.rung[requester] = false, false
			q.Wake()
		}
		worked := false
		for {
			var reply ipc.Words
			slot, ok := q.Poll(&reply)
			if !ok {
				break
			}
			worked = true
			value := r.flying[slot]
			delete(r.flying, slot)
			if r.polled[value]++; reply[0] != value+1000 || r.polled[value] > 1 {
				r.t.Fatalf("value %d: replied %d, %d times", value, reply[0], r.polled[value])
			}
		}
		for r.asked < wanted && r.rng.IntN(3) > 0 {
			slot, ok := q.Submit(&ipc.Words{r.asked + 1})
			if !ok {
				break
			}
			worked = true
			r.asked++
			r.flying[slot] = r.asked
		}
		if !worked && r.asked == wanted {
			r.asleep[requester] = q.Sleep()
			if !r.asleep[requester] {
				q.Wake()
			}
		}
	})
	if died {
		r.requester.End()
		r.requester = nil
	}
}

// turnServer lets the server live for a turn.
func (r *requesting) turnServer() {
	if r.server == nil {
		s, err := ipc.NewSession(ipc.SessionConfig{ID: 1, Geometry: r.g, Client: r.mine, Server: r.theirs, Doorbell: r.doorbell, Bell: r.bell})
		if err != nil {
			r.t.Fatal(err)
		}
		r.births++
		r.sessions = ipc.NewSessions()
		clear(r.taken)
		if r.side(answerer, func() { s.Attach(r.births); r.sessions.Add(s); r.sessions.WakeClients() }) {
			return
		}
		r.server = s
	}
	if r.asleep[answerer] && !r.rung[answerer] {
		return
	}
	died := r.side(answerer, func() {
		s := r.server
		if r.asleep[answerer] {
			r.asleep[answerer], r.rung[answerer] = false, false
			r.sessions.Ring(s)
		}
		worked := false
		for {
			q, ok := s.NextStarted()
			if !ok {
				if q, ok = s.Next(); !ok {
					break
				}
			}
			worked = true
			s.Begin(q.Slot)
			s.Execute(q.Slot)
			r.executed[q.Words[0]]++
			s.Park(q.Slot)
			r.taken[q.Slot] = q.Words
		}
		for slot := range r.g.Slots {
			if words, ok := r.taken[slot]; ok && r.rng.IntN(2) == 0 {
				worked = true
				words[0] += 1000
				s.Reply(slot, &words)
				delete(r.taken, slot)
			}
		}
		if err := s.Err(); err != nil {
			r.t.Fatal(err)
		}
		r.sessions.WakeClients()
		if !worked && len(r.taken) == 0 {
			r.asleep[answerer] = r.sessions.Cool(1<<40, 1) == 0
		}
	})
	if died {
		r.server = nil
	}
}

// play runs until all values have been executed and their replies polled, or lost by a
// death between the two, and checks that each was executed once for each life of the
// server that it met.
func (r *requesting) play(wanted uint64) {
	epoll, err := unix.NewEpoll(2)
	if err != nil {
		r.t.Fatal(err)
	}
	defer epoll.Close()
	for i, fd := range []int{r.bell, r.doorbell} {
		if err := epoll.Add(fd, int32(i)); err != nil {
			r.t.Fatal(err)
		}
	}
	for turn := 0; ; turn++ {
		if turn > 4000 {
			r.t.Fatalf("it hangs: %d of %d values asked, %d executed, %d polled, %d in flight, asleep %v", r.asked, wanted, len(r.executed), len(r.polled), len(r.flying), r.asleep)
		}
		if r.rng.IntN(2) == 0 {
			r.turnRequester(wanted)
		} else {
			r.turnServer()
		}
		if err := epoll.Wait(0, func(side int32) { r.rung[side] = true }); err != nil {
			r.t.Fatal(err)
		}
		if r.asked == wanted && r.requester != nil && r.requester.InFlight() == 0 {
			break
		}
	}
	for value := uint64(1); value <= wanted; value++ {
		executed, polled := r.executed[value], r.polled[value]
		if executed < 1 || executed > 1+r.deaths[answerer] {
			r.t.Fatalf("value %d was executed %d times, with %d deaths of the server", value, executed, r.deaths[answerer])
		}
		if polled == 0 && r.deaths[requester] == 0 {
			r.t.Fatalf("value %d has no reply", value)
		}
	}
}

// request plays one run and returns the deaths that there were.
func request(t *testing.T, seed uint64, requesters, servers []int) (deaths [2]int) {
	t.Helper()
	const wanted = 8
	r := &requesting{t: t, rng: rand.New(rand.NewPCG(seed, 5)), g: ipc.Geometry{Slots: 3},
		rung: make(map[int32]bool), executed: make(map[uint64]int), polled: make(map[uint64]int), flying: make(map[int]uint64), taken: make(map[int]ipc.Words)}
	r.mine, r.theirs = make([]byte, r.g.ClientBytes()), make([]byte, r.g.ServerBytes())
	for which, at := range [][]int{requesters, servers} {
		r.deathAt[which] = make(map[int]bool)
		for _, n := range at {
			r.deathAt[which][n] = true
		}
	}
	var err error
	for _, fd := range []*int{&r.bell, &r.doorbell} {
		if *fd, err = unix.CreateEventfd(); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(*fd)
	}
	if err := ipc.FormatClient(r.mine, r.g); err != nil {
		t.Fatal(err)
	}
	if err := ipc.FormatServer(r.theirs, r.g); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d, deaths at %v and %v", seed, requesters, servers)
		}
	}()
	r.play(wanted)
	return r.deaths
}

// TestKillRequesterAtEveryWrite: and its successor, at every write of its own, and the
// server at every write between: all pairs.
func TestKillRequesterAtEveryWrite(t *testing.T) {
	for seed := range uint64(scale(3, 40)) {
		singles := 0
		for n := 1; ; n++ {
			if request(t, seed, []int{n}, nil)[requester] == 0 {
				break
			}
			singles++
			for _, m := range []int{1, 2, 3, 4, 7, 11} {
				request(t, seed, []int{n, n + m}, nil)
			}
		}
		pairs := 0
		for n := 1; n <= singles; n++ {
			for m := 1; ; m++ {
				if deaths := request(t, seed, []int{n}, []int{m}); deaths[answerer] == 0 {
					break
				}
				pairs++
			}
		}
		if singles < 20 || pairs < 1000 {
			t.Fatal(fmt.Sprintf("seed %d: only %d deaths and %d pairs", seed, singles, pairs))
		}
	}
}
