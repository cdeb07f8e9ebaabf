package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/quintet-os/quintet/bench/peer"
)

// suite is one run of the ipc benchmarks.
type suite struct {
	Options
	dir  string // of the C programs, and of sockets
	hasC bool
}

// IPC measures sessions beside C programs, futexes and Unix sockets. Without gcc
// the comparisons with C are left out, and Progress is told so.
func IPC(ctx context.Context, o Options) (rows []Row, err error) {
	s := &suite{Options: o.withDefaults()}
	if s.dir, err = os.MkdirTemp("", "quintet-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	switch err := peer.Build(ctx, s.dir); {
	case errors.Is(err, peer.ErrNoCompiler):
		s.say("%v", err)
	case err != nil:
		return nil, err
	default:
		s.hasC = true
	}
	return s.run(ctx, []part{
		{"spinning", s.spinning}, {"sleeping", s.sleeping}, {"throughput", s.throughput}, {"one-processor", s.oneProcessor},
		{"collector", s.collector}, {"queues", s.queues}, {"system-calls", s.systemCalls},
	})
}

func (o Options) conditions(where placement) Conditions {
	c := here()
	c.Placement, c.Rounds = where.name, o.Rounds
	return c
}

// program is a C program that measures, as a contender.
func (s *suite) program(name string, where placement) contender {
	return contender{"C " + name, func(ctx context.Context) (result Result, err error) {
		ctx, cancel := context.WithTimeout(ctx, s.Duration+sideGrace)
		defer cancel()
		p, err := startProgram(ctx, filepath.Join(s.dir, name),
			strconv.FormatFloat(s.Duration.Seconds(), 'f', -1, 64), strconv.Itoa(where.client), strconv.Itoa(where.server))
		if err != nil {
			return result, err
		}
		return result, p.result(&result)
	}}
}

func (s *suite) session(name string, where placement, t task) contender {
	t.Duration = s.Duration
	return contender{name, func(ctx context.Context) (Result, error) { return sessionPair(ctx, where, t) }}
}

func (s *suite) socket(name string, where placement, t task) contender {
	t.Duration = s.Duration
	return contender{name, func(ctx context.Context) (Result, error) { return socketPeer(ctx, s.dir, where, t) }}
}

var oneCall = task{Callers: 1, Window: 1}

func sleepingCall() task { return task{Callers: 1, Window: 1, Sleeping: true} }

// spinning: the round trip while both sides look by themselves.
func (s *suite) spinning(ctx context.Context) ([]Row, error) {
	cross, _, _, err := placements()
	if err != nil {
		return nil, err
	}
	if !cross.onTwo() {
		s.say("one processor: nothing to spin on")
		return nil, nil
	}
	const name = "round trip spinning"
	contenders := []contender{s.session("quintet", cross, oneCall)}
	if s.hasC {
		contenders = append(contenders, s.program("spin", cross))
	}
	results, err := s.alternate(ctx, name, contenders...)
	if err != nil {
		return nil, err
	}
	c := s.conditions(cross)
	c.Waiting = "spinning"
	if !s.hasC {
		return roundTripRows(name, results[0], "", Result{}, c), nil
	}
	return roundTripRows(name, results[0], "C, the same protocol", results[1], c), nil
}

// sleeping: the round trip while nobody spins, in all placements, with and
// without the processors kept from deep sleep.
func (s *suite) sleeping(ctx context.Context) ([]Row, error) {
	rows, err := s.sleepingEverywhere(ctx, "default")
	if err != nil {
		return nil, err
	}
	release, err := holdDMALatency()
	if err != nil {
		s.say("left out: sleeping with processors kept awake: %v", err)
		return rows, nil
	}
	held, err := s.sleepingEverywhere(ctx, "0 us")
	return append(rows, held...), errors.Join(err, release())
}

func (s *suite) sleepingEverywhere(ctx context.Context, dmaLatency string) (rows []Row, err error) {
	cross, same, free, err := placements()
	if err != nil {
		return nil, err
	}
	for _, where := range []placement{cross, same, free} {
		name := "round trip sleeping"
		contenders := []contender{s.session("quintet", where, sleepingCall()), s.socket("net.Conn", where, oneCall)}
		if s.hasC {
			contenders = append(contenders, s.program("futex", where))
		}
		results, err := s.alternate(ctx, name+", "+where.name+", dma latency "+dmaLatency, contenders...)
		if err != nil {
			return nil, err
		}
		c := s.conditions(where)
		c.Waiting, c.DMALatency = "sleeping", dmaLatency
		rows = append(rows, roundTripRows(name, results[0], "Go net.Conn, Unix socket", results[1], c)...)
		if s.hasC {
			rows = append(rows, roundTripRows(name, results[0], "C, bare futex pair", results[2], c)...)
		}
	}
	return rows, nil
}

// inFlight is the number of requests in flight in the throughput benchmarks.
const inFlight = 32

// throughput: requests per second with 32 in flight, from one goroutine and
// from eight, beside calls over Unix sockets one after another, and pipelined.
func (s *suite) throughput(ctx context.Context) (rows []Row, err error) {
	_, _, free, err := placements()
	if err != nil {
		return nil, err
	}
	for _, callers := range []int{1, 8} {
		t := task{Callers: callers, Window: inFlight / callers}
		name := fmt.Sprintf("requests, %d in flight, %s", inFlight, goroutines(callers))
		results, err := s.alternate(ctx, name, s.session("quintet", free, t),
			s.socket("net.Conn, one after another", free, task{Callers: callers, Window: 1}),
			s.socket("net.Conn, pipelined", free, t))
		if err != nil {
			return nil, err
		}
		c := s.conditions(free)
		rows = append(rows,
			compared(name, "1/s", results[0].PerSecond, "Go net.Conn, request/reply", results[1].PerSecond, c),
			compared(name, "1/s", results[0].PerSecond, "Go net.Conn, pipelined", results[2].PerSecond, c))
	}
	return rows, nil
}

func goroutines(n int) string {
	if n == 1 {
		return "one goroutine"
	}
	return fmt.Sprintf("%d goroutines", n)
}

// oneProcessor: requests per second when client and server share a processor,
// where batching has to make up for the switches.
func (s *suite) oneProcessor(ctx context.Context) (rows []Row, err error) {
	_, same, _, err := placements()
	if err != nil {
		return nil, err
	}
	const name = "requests on one processor"
	contenders := []contender{
		s.session("quintet", same, task{Callers: 1, Window: inFlight}),
		s.session("quintet, one at a time", same, task{Callers: 1, Window: 1}),
		s.socket("net.Conn", same, oneCall),
	}
	if s.hasC {
		contenders = append(contenders, s.program("socket", same))
	}
	results, err := s.alternate(ctx, name, contenders...)
	if err != nil {
		return nil, err
	}
	c := s.conditions(same)
	c.Waiting = "sleeping"
	batched, single := fmt.Sprintf("%s, %d in flight", name, inFlight), name+", one in flight"
	for i, beside := range []string{"Go net.Conn, request/reply", "C, blocking Unix socket"} {
		if i+2 < len(results) {
			theirs := results[i+2].PerSecond
			rows = append(rows, compared(batched, "1/s", results[0].PerSecond, beside, theirs, c),
				compared(single, "1/s", results[1].PerSecond, beside, theirs, c))
		}
	}
	return rows, nil
}
