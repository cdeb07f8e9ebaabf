//go:build simulator

package sim

import (
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"testing"
)

var seed = flag.Uint64("seed", 0, "replay the random runs of one seed; 0 takes new ones")

// long tells whether there is time for the full lengths.
var long = os.Getenv("QUINTET_LONG") != ""

func scale(short, full int) int {
	if long {
		return full
	}
	return short
}

// small is a plan whose every write can be a death.
var small = Plan{Seed: 1, Sessions: 2, Slots: 3, Requests: 6, Blocks: 5}

// mustRun plays a plan without deaths of clients: everything must be answered.
func mustRun(t *testing.T, p Plan) Result {
	t.Helper()
	r, err := Run(p)
	if err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	if want := p.Sessions * p.Requests; r.ClientDeaths+r.Ended == 0 && r.Answered+r.Failed+r.Poisoned != want {
		t.Fatalf("%+v: %d of %d requests were answered", p, r.Answered, want)
	}
	return r
}

func TestNobodyDies(t *testing.T) {
	r := mustRun(t, small)
	if r.Replayed != 0 || r.Poisoned != 0 || len(r.ServerWrites) != 1 {
		t.Errorf("without deaths: %+v", r)
	}
	if again := mustRun(t, small); again.Trace != r.Trace {
		t.Error("the same plan gave two different runs")
	}
}

// TestKillServerAtEveryWrite kills the server before its 1st, 2nd, 3rd ... write
// to shared memory until a run comes to its end.
func TestKillServerAtEveryWrite(t *testing.T) {
	for s := range uint64(scale(8, 200)) {
		p := small
		p.Seed = s
		replayed := 0
		for n := 1; ; n++ {
			p.Servers.At = map[int]int{1: n}
			r := mustRun(t, p)
			replayed += r.Replayed
			if len(r.ServerWrites) == 1 {
				if n < 50 || replayed == 0 {
					t.Fatalf("seed %d: only %d deaths, %d requests replayed", s, n-1, replayed)
				}
				break
			}
		}
	}
}

// TestKillSuccessorAtEveryWrite lets a second server die as well, at each write
// of its own: during recovery and after.
func TestKillSuccessorAtEveryWrite(t *testing.T) {
	p := small
	p.Requests = 3
	pairs := 0
	for n := 1; ; n++ {
		for m := 1; ; m++ {
			p.Servers.At = map[int]int{1: n, 2: m}
			r := mustRun(t, p)
			if len(r.ServerWrites) == 1 {
				t.Logf("%d pairs of deaths", pairs)
				return
			}
			if len(r.ServerWrites) == 2 {
				break
			}
			pairs++
		}
	}
}

// TestKillClientAtEveryWrite kills one client before each of its writes. The
// others must get all their replies.
func TestKillClientAtEveryWrite(t *testing.T) {
	for s := range uint64(scale(8, 200)) {
		p := small
		p.Seed = s
		for n := 1; ; n++ {
			p.Clients.At = map[int]int{1: n}
			r := mustRun(t, p)
			if r.ClientDeaths == 0 {
				if n < 20 {
					t.Fatalf("seed %d: only %d deaths", s, n-1)
				}
				break
			}
			if r.Answered < p.Requests {
				t.Fatalf("%+v: the other client got %d replies of %d", p, r.Answered, p.Requests)
			}
		}
	}
}

// TestKillClientAndServer lets both die, at all pairs of writes.
func TestKillClientAndServer(t *testing.T) {
	p := small
	p.Requests = 3
	for n := 1; ; n++ {
		p.Clients.At = map[int]int{1: n}
		p.Servers.At = nil
		if mustRun(t, p).ClientDeaths == 0 {
			return
		}
		for m := 1; ; m++ {
			p.Servers.At = map[int]int{1: m}
			if len(mustRun(t, p).ServerWrites) == 1 {
				break
			}
		}
	}
}

// random makes a plan of a storm.
func random(s uint64) Plan {
	r := rand.New(rand.NewPCG(s, 0x73746f726d))
	p := Plan{Seed: s, Sessions: 1 + r.IntN(5), Slots: 1 + r.IntN(8), Requests: 10 + r.IntN(60), Blocks: 3 + r.IntN(20), Limit: r.IntN(5)}
	p.Servers = Deaths{Chance: 0.05 * r.Float64(), Max: r.IntN(60)}
	if r.IntN(3) == 0 {
		p.Clients = Deaths{Chance: 0.01 * r.Float64(), Max: p.Servers.Max + 1}
	}
	if r.IntN(2) == 0 {
		p.Faults = 0.2 * r.Float64()
	}
	p.Hostile = max(0, r.IntN(4)-2)
	p.Upgrades = r.IntN(3)
	return p
}

func TestRandomDeaths(t *testing.T) {
	if *seed != 0 {
		t.Logf("%+v", mustRun(t, random(*seed)))
		return
	}
	first := rand.Uint64()
	t.Logf("replay one with -seed N; the first is %d", first)
	var deaths, replayed, answered, poisoned, clients, failed, ended, upgrades int
	for i := range uint64(scale(400, 100_000)) {
		r := mustRun(t, random(first+i))
		deaths += len(r.ServerWrites) - 1
		clients += r.ClientDeaths
		replayed += r.Replayed
		answered += r.Answered
		poisoned += r.Poisoned
		failed += r.Failed
		ended += r.Ended
		upgrades += r.Upgrades
	}
	t.Logf("%d deaths of servers, %d of clients; %d requests answered, %d executed again, %d refused as poison",
		deaths, clients, answered, replayed, poisoned)
	t.Logf("%d requests failed by the device, %d sessions ended for a broken protocol, %d upgrades", failed, ended, upgrades)
	if deaths == 0 || replayed == 0 || clients == 0 || failed == 0 || ended == 0 || upgrades == 0 {
		t.Error("the storm left something out")
	}
}

// TestUpgrade replaces drained servers, again and again: nothing is executed twice.
func TestUpgrade(t *testing.T) {
	upgrades := 0
	for s := range uint64(20) {
		p := Plan{Seed: s, Sessions: 3, Slots: 4, Requests: 60, Blocks: 6, Upgrades: 10}
		r := mustRun(t, p)
		if r.Replayed != 0 || len(r.ServerWrites) != 1 {
			t.Fatalf("%+v: upgrades without deaths: %+v", p, r)
		}
		upgrades += r.Upgrades
	}
	if upgrades < 20 {
		t.Errorf("%d upgrades in 20 runs", upgrades)
	}
}

// TestDeviceFaults fails operations of the device, at any length.
func TestDeviceFaults(t *testing.T) {
	failed := 0
	for s := range uint64(20) {
		failed += mustRun(t, Plan{Seed: s, Sessions: 3, Slots: 4, Requests: 60, Blocks: 6, Faults: 0.2}).Failed
	}
	if failed == 0 {
		t.Error("no request failed")
	}
}

// TestHostileNeighbours has all clients but one break the protocol, and kills the
// server at each of its writes: that one gets all its replies.
func TestHostileNeighbours(t *testing.T) {
	p := small
	p.Sessions, p.Hostile = 3, 2
	for n := 1; ; n++ {
		p.Servers.At = map[int]int{1: n}
		r := mustRun(t, p)
		if r.Ended != p.Hostile || r.Answered < p.Requests {
			t.Fatalf("%+v: %+v", p, r)
		}
		if len(r.ServerWrites) == 1 {
			return
		}
	}
}

// TestContention has many clients at a few blocks while servers die early and
// often, so that most of what a successor finds conflicts with something else.
func TestContention(t *testing.T) {
	for s := range uint64(scale(150, 20_000)) {
		p := Plan{Seed: s, Sessions: 6, Slots: 2, Requests: 20, Blocks: 3, Servers: Deaths{Chance: 0.05, Max: 100}}
		mustRun(t, p)
	}
}

// TestOracleSeesMissingFence lets successors start while their predecessor's
// operations still run. An acknowledged write must be undone then, and noticed.
func TestOracleSeesMissingFence(t *testing.T) {
	for s := range uint64(400) {
		p := random(s)
		p.NoFence = true
		p.Clients, p.Faults, p.Hostile, p.Upgrades = Deaths{}, 0, 0, 0
		p.Servers.Chance, p.Servers.Max = 0.03, 50
		if _, err := Run(p); errors.Is(err, errNotAtomic) {
			t.Logf("seed %d: %v", s, err)
			return
		}
	}
	t.Error("400 runs without the fence, and no write was undone")
}
