package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/quintet-os/quintet/ipc"
)

// collectInterval is the time between two garbage collections that are timed.
const collectInterval = 5 * time.Millisecond

// ballast is memory for the collector to look at, in pieces of 1 KiB.
var ballast [][]byte

// collect times garbage collections for a while.
func collect(t task) Result {
	for range t.HeapMiB << 10 {
		ballast = append(ballast, make([]byte, 1<<10))
	}
	var took []float64
	for start := time.Now(); time.Since(start) < t.Duration; time.Sleep(collectInterval) {
		began := time.Now()
		runtime.GC()
		took = append(took, float64(time.Since(began)))
	}
	slices.Sort(took)
	at := func(thousandths int) float64 { return took[len(took)*thousandths/1000] }
	return Result{P50: at(500), P99: at(990), P999: at(999)}
}

// collectAlone is a process with the same memory and nothing that spins.
func collectAlone(t task) (any, error) { return collect(t), nil }

// callAndCollect times garbage collections while one goroutine calls without
// pause, spinning for each reply.
func callAndCollect(t task, client *ipc.Client) (any, error) {
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := echoOnce(client); err != nil {
				ended <- err
				return
			}
		}
	}()
	result := collect(t)
	close(stop)
	return result, <-ended
}

// collector: garbage collection in a process that spins, beside one that does
// not.
func (s *suite) collector(ctx context.Context) (rows []Row, err error) {
	for _, mib := range []int{0, 16} {
		more, err := s.collectorWith(ctx, mib)
		if err != nil {
			return rows, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func (s *suite) collectorWith(ctx context.Context, heapMiB int) ([]Row, error) {
	_, _, free, err := placements()
	if err != nil {
		return nil, err
	}
	alone := func(ctx context.Context) (result Result, err error) {
		side, err := startSide(ctx, "gc-alone", task{Duration: s.Duration, HeapMiB: heapMiB}, anyCPU)
		if err != nil {
			return result, err
		}
		return result, side.result(&result)
	}
	var servers []Result
	spinning := func(ctx context.Context) (Result, error) {
		var client, server Result
		served, err := runSession(ctx, free, task{Duration: s.Duration, Callers: 1, Window: 1, Collect: true, HeapMiB: heapMiB, CPU: anyCPU}, &client)
		if err != nil {
			return client, err
		}
		if err := json.Unmarshal([]byte(served), &server); err != nil {
			return client, fmt.Errorf("the server printed %q: %w", served, err)
		}
		servers = append(servers, server)
		return client, nil
	}
	results, err := s.alternate(ctx, "runtime.GC beside a spinner",
		contender{"no spinner", alone}, contender{"client and server spinning", spinning})
	if err != nil {
		return nil, err
	}
	conditions := s.conditions(free)
	conditions.Waiting = "spinning"
	conditions.Note = fmt.Sprintf("%d MiB of pieces of 1 KiB on the heap", heapMiB)
	rows := func(name string, ours Result) []Row {
		return []Row{
			compared(name+" p50", "ns", ours.P50, "no spinner", results[0].P50, conditions),
			compared(name+" p99", "ns", ours.P99, "no spinner", results[0].P99, conditions),
		}
	}
	return append(rows("runtime.GC in a spinning client", results[1]), rows("runtime.GC in a spinning server", medians(servers))...), nil
}
