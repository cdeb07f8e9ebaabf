package crashtest

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
)

// State is what power loss could have left.
type State struct {
	Image *Image // the checker's own: it may be changed
	Name  string // says how the state was made, for messages
	Marks []any  // made before the crash
}

// Sweep says which states to look at.
type Sweep struct {
	Seed uint64
	// Tear is the size in bytes of what the device writes whole: the file
	// system's block size, as a rule. At least Grain.
	Tear int
	// Samples is how many states with lost, torn and reordered writes are drawn
	// for each prefix; 0 for prefixes alone.
	Samples int
	// Every looks at every n-th prefix only; 0 is 1.
	Every int
	// Marks also looks at what there is just after every n-th mark; 0 is none.
	Marks int
	// Workers check in parallel; 0 is one for each processor.
	Workers int
}

// States calls check for each state, from several goroutines, until one call
// fails. It returns how many were checked, and the failure of the earliest
// crash among those found, wrapped with the state's name and the seed.
//
// For every recorded write there is the state just after it, with nothing lost.
// Samples are drawn at the same points: of what was written since the last
// flush, any subset of the torn pieces, each piece in the order of its writes.
func (r *Recorder) States(s Sweep, check func(State) error) (checked int, err error) {
	r.mu.Lock()
	log := r.log[:len(r.log):len(r.log)]
	r.mu.Unlock()
	workers := s.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	states := make(chan State)
	failed := make(chan struct{})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for state := range states {
				e := check(state)
				mu.Lock()
				checked++
				if e != nil && err == nil {
					err = fmt.Errorf("crash %s (sweep seed %d): %w", state.Name, s.Seed, e)
					close(failed)
				}
				mu.Unlock()
			}
		})
	}
	g := &generator{sweep: s, random: rand.New(rand.NewPCG(s.Seed, 0)), durable: r.base.Clone(), emit: func(state State) bool {
		select {
		case states <- state:
			return true
		case <-failed:
			return false
		}
	}}
	g.run(log)
	close(states)
	wg.Wait()
	return checked, err
}

// generator makes states from the log.
type generator struct {
	sweep   Sweep
	random  *rand.Rand
	durable *Image  // all that flushes cover
	pending []entry // written since
	marks   []any
	writes  int
	emit    func(State) bool
}

func (g *generator) run(log []entry) {
	for _, e := range log {
		switch {
		case e.mark != nil:
			// Marks so far stay what they are for the states that have them.
			g.marks = append(g.marks[:len(g.marks):len(g.marks)], e.mark)
			if g.sweep.Marks > 0 && len(g.marks)%g.sweep.Marks == 0 && !g.prefix() {
				return
			}
		case e.data != nil:
			g.pending = append(g.pending, e)
			g.writes++
			if g.sweep.Every > 1 && g.writes%g.sweep.Every != 0 {
				continue
			}
			if !g.prefix() {
				return
			}
		default:
			for _, p := range g.pending {
				apply(g.durable, p)
			}
			g.pending = g.pending[:0]
		}
	}
	g.prefix()
}

func apply(m *Image, e entry) {
	if _, err := m.WriteAt(e.data, e.off); err != nil {
		panic(err) // it was accepted when it was recorded
	}
}

// prefix emits the states of a crash at this point.
func (g *generator) prefix() bool {
	whole := g.durable.Clone()
	for _, e := range g.pending {
		apply(whole, e)
	}
	name := fmt.Sprintf("after write %d, mark %d", g.writes, len(g.marks))
	if !g.emit(State{whole, name, g.marks}) {
		return false
	}
	for i := range g.sweep.Samples {
		if !g.emit(State{g.sample(), fmt.Sprintf("%s, sample %d", name, i), g.marks}) {
			return false
		}
	}
	return true
}

// sample loses some of what is pending. How much is drawn first, so that nearly
// nothing and nearly all are as likely as half.
func (g *generator) sample() *Image {
	m := g.durable.Clone()
	keep := g.random.Float64()
	for _, e := range g.pending {
		if g.random.IntN(4) == 0 { // whole, as most writes go
			if g.random.Float64() < keep {
				apply(m, e)
			}
			continue
		}
		for at := 0; at < len(e.data); {
			n := min(g.sweep.Tear-int((e.off+int64(at))%int64(g.sweep.Tear)), len(e.data)-at)
			if g.random.Float64() < keep {
				apply(m, entry{off: e.off + int64(at), data: e.data[at : at+n]})
			}
			at += n
		}
	}
	return m
}
