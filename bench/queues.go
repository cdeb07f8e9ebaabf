package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/quintet-os/quintet/bench/scq"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
)

// queueWindow is the number of requests each caller has in flight.
const queueWindow = 4

// queues: callers and one server in one process, which exchange 56-byte
// requests and replies through slots, through SCQ and through Go channels.
// Slots and SCQ are polled, and yield when there is nothing; channels block.
func (s *suite) queues(ctx context.Context) (rows []Row, err error) {
	_, _, free, err := placements()
	if err != nil {
		return nil, err
	}
	for _, callers := range []int{1, 2, 4, 8, 16} {
		t := task{Duration: s.Duration, Callers: callers, Window: queueWindow}
		name := fmt.Sprintf("requests through a queue, %s", goroutines(callers))
		var contenders []contender
		for _, kind := range []string{"slots", "scq", "channel"} {
			contenders = append(contenders, contender{kind, func(ctx context.Context) (result Result, err error) {
				side, err := startSide(ctx, "queue-"+kind, t, anyCPU)
				if err != nil {
					return result, err
				}
				return result, side.result(&result)
			}})
		}
		results, err := s.alternate(ctx, name, contenders...)
		if err != nil {
			return nil, err
		}
		c := s.conditions(free)
		c.Note = fmt.Sprintf("one process, %d in flight for each goroutine", queueWindow)
		rows = append(rows, compared(name, "1/s", results[0].PerSecond, "SCQ", results[1].PerSecond, c),
			compared(name, "1/s", results[0].PerSecond, "Go channel", results[2].PerSecond, c))
	}
	return rows, nil
}

// queueSlots exchanges requests through a session over ordinary memory.
func queueSlots(t task) (any, error) {
	g := ipc.Geometry{Slots: t.Callers * t.Window}
	mine, theirs := make([]byte, g.ClientBytes()), make([]byte, g.ServerBytes())
	if err := ipc.FormatClient(mine, g); err != nil {
		return nil, err
	}
	if err := ipc.FormatServer(theirs, g); err != nil {
		return nil, err
	}
	bell, err := unix.CreateEventfd()
	if err != nil {
		return nil, err
	}
	defer unix.Close(bell)
	session, err := ipc.NewSession(ipc.SessionConfig{ID: 1, Geometry: g, Client: mine, Server: theirs, Doorbell: bell})
	if err != nil {
		return nil, err
	}
	session.Attach(1)
	client, err := ipc.NewClient(ipc.ClientConfig{Geometry: g, Client: mine, Server: theirs, Doorbell: bell})
	if err != nil {
		return nil, err
	}
	sessions := ipc.NewSessions()
	sessions.Add(session)
	core := &echo{sessions: sessions}
	return whileServing(func() bool { return core.Step(0) }, t, func(stop func() bool) (int, error) {
		return pollInFlight(client, t.Window, stop)
	})
}

// pollInFlight keeps window requests in flight and never blocks.
func pollInFlight(client *ipc.Client, window int, stop func() bool) (int, error) {
	ctx := context.Background()
	calls := make([]*ipc.Call, window)
	outstanding, n := 0, 0
	for stopping := false; !stopping || outstanding > 0; {
		worked := false
		stopping = stopping || stop()
		for i, call := range calls {
			if call != nil && call.Done() {
				var reply ipc.Words
				if err := call.Wait(ctx, &reply); err != nil {
					return n, err
				}
				if err := checkEcho(&reply); err != nil {
					return n, err
				}
				calls[i], worked = nil, true
				outstanding--
				n++
			}
			if calls[i] == nil && !stopping {
				request := echoRequest
				var err error
				if calls[i], err = client.Start(ctx, &request); err != nil {
					return n, err
				}
				outstanding++
				worked = true
			}
		}
		if !worked {
			runtime.Gosched()
		}
	}
	return n, nil
}

// letter is a request or a reply, with the caller it belongs to.
type letter struct {
	caller int
	words  ipc.Words
}

// queueSCQ exchanges requests through one SCQ for all requests and one for the
// replies of each caller.
func queueSCQ(t task) (any, error) {
	requests := scq.New[letter](t.Callers * t.Window)
	replies := make([]*scq.Queue[letter], t.Callers)
	for i := range replies {
		replies[i] = scq.New[letter](t.Window)
	}
	step := func() (worked bool) {
		for range echoBatchMax {
			l, ok := requests.Dequeue()
			if !ok {
				break
			}
			for i := range l.words {
				l.words[i]++
			}
			replies[l.caller].Enqueue(l) // never full: a caller has at most t.Window in flight
			worked = true
		}
		return worked
	}
	var callers atomic.Int32
	return whileServing(step, t, func(stop func() bool) (int, error) {
		me := int(callers.Add(1)) - 1
		outstanding, n := 0, 0
		for stopping := false; !stopping || outstanding > 0; {
			worked := false
			stopping = stopping || stop()
			for ; outstanding < t.Window && !stopping; outstanding++ {
				worked = requests.Enqueue(letter{me, echoRequest}) || worked
			}
			for outstanding > 0 {
				l, ok := replies[me].Dequeue()
				if !ok {
					break
				}
				if err := checkEcho(&l.words); err != nil {
					return n, err
				}
				worked = true
				outstanding--
				n++
			}
			if !worked {
				runtime.Gosched()
			}
		}
		return n, nil
	})
}

// queueChannel exchanges requests through one channel for all requests and one
// for the replies of each caller.
func queueChannel(t task) (any, error) {
	requests := make(chan letter, t.Callers*t.Window)
	replies := make([]chan letter, t.Callers)
	for i := range replies {
		replies[i] = make(chan letter, t.Window)
	}
	go func() {
		for l := range requests {
			for i := range l.words {
				l.words[i]++
			}
			replies[l.caller] <- l
		}
	}()
	defer close(requests)
	var callers atomic.Int32
	return countCalls(t, func(stop func() bool) (int, error) {
		me := int(callers.Add(1)) - 1
		for range t.Window {
			requests <- letter{me, echoRequest}
		}
		for n := 1; ; n++ {
			l := <-replies[me]
			if err := checkEcho(&l.words); err != nil {
				return n, err
			}
			if stop() {
				for range t.Window - 1 {
					<-replies[me]
				}
				return n + t.Window - 1, nil
			}
			requests <- letter{me, echoRequest}
		}
	})
}

// whileServing counts calls while step serves them on a goroutine of its own.
func whileServing(step func() bool, t task, call func(stop func() bool) (int, error)) (any, error) {
	var over atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !over.Load() {
			if !step() {
				runtime.Gosched()
			}
		}
	}()
	result, err := countCalls(t, call)
	over.Store(true)
	<-ended
	return result, err
}
