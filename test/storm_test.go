package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/supervisor"
)

const (
	stormKills     = 200
	stormKillsLong = 10_000
	stormGapMax    = 30 * time.Millisecond // between a recovery and the next kill
)

// TestKillStorm kills the server at random moments, also during takeovers,
// under load whose every byte is verified.
func TestKillStorm(t *testing.T) {
	kills := stormKills
	if os.Getenv("QUINTET_LONG") != "" {
		kills = stormKillsLong
	}
	if text := os.Getenv("QUINTET_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d, %d kills", seed, kills)
	r := rand.New(rand.NewPCG(seed, 1))
	s := Up(t, program, oneServer)
	one, two := s.Connect(), s.Connect()
	loads := []*Load{
		StartLoad(s.Volume(one, "data"), 8, 0, seed),
		StartLoad(s.Volume(two, "data"), 8, 512, seed+1),
	}
	// A process that is asked to die twice before it has died dies once.
	for last, killed := 0, 0; killed < kills; {
		time.Sleep(time.Duration(r.Int64N(int64(stormGapMax)))) // the random moment
		if pid := s.KillServer("store"); pid != 0 && pid != last {
			last = pid
			killed++
		}
	}
	for _, l := range loads {
		for _, problem := range l.Stop() {
			t.Error(problem)
		}
	}
	state := s.Server("store")
	t.Logf("%d requests, %d replayed, %d deaths", loads[0].Requests.Load()+loads[1].Requests.Load(), state.Replayed, state.Deaths)
	if state.Deaths < uint64(kills) {
		t.Errorf("%d deaths after %d kills", state.Deaths, kills)
	}
	if state.Replayed == 0 {
		t.Error("no request was in flight in any death: the storm has tested nothing")
	}
}

// TestStoppedServerIsReplaced: a process that is alive and does nothing.
func TestStoppedServerIsReplaced(t *testing.T) {
	s := Up(t, program, oneServer)
	v := s.Volume(s.Connect(), "data")
	before := s.Server("store")
	process, err := unix.OpenPidfd(before.PID)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := v.WriteAt(make([]byte, loadBlock), 0); err != nil {
		t.Fatal(err)
	}
	after := s.Server("store")
	if after.PID == before.PID || after.Hangs != 1 {
		t.Errorf("pid %d became %d, %d hangs", before.PID, after.PID, after.Hangs)
	}
}

// TestCrashLoop: a server that cannot live is retried ever more slowly, and the
// other one serves as if nothing were.
func TestCrashLoop(t *testing.T) {
	s := Up(t, program, `version: 1
servers: {good: {kind: storage}, bad: {kind: storage}}
volumes:
  data: {server: good, file: data.img, size: 16MiB, create: true}
  broken: {server: bad, file: broken.img, size: 16MiB, create: true}
applications: {test: {volumes: {data: rw}}}
`)
	load := StartLoad(s.Volume(s.Connect(), "data"), 4, 0, 1)
	s.Until("the bad server backs off", func(state *supervisor.State) bool {
		for _, server := range state.Servers {
			if server.Name != "bad" {
				continue
			}
			if server.Phase == supervisor.PhaseBackingOff && server.RetryInMS > 100 {
				return true
			}
			if server.PID != 0 {
				// Nobody has asked the supervisor for it; it may have ended already.
				if p, err := os.FindProcess(server.PID); err == nil {
					_ = p.Kill()
				}
			}
		}
		return false
	})
	deaths := s.Server("good").Deaths
	s.Until("the bad server, left alone, serves again", func(state *supervisor.State) bool {
		for _, server := range state.Servers {
			if server.Name == "bad" && server.Phase == supervisor.PhaseServing {
				return true
			}
		}
		return false
	})
	for _, problem := range load.Stop() {
		t.Error(problem)
	}
	if deaths != 0 || s.Server("good").Requests == 0 {
		t.Errorf("the good server died %d times and served %d requests", deaths, s.Server("good").Requests)
	}
}

// TestRestartUnderLoad hands over to a new process again and again.
func TestRestartUnderLoad(t *testing.T) {
	s := Up(t, program, oneServer)
	load := StartLoad(s.Volume(s.Connect(), "data"), 8, 0, 2)
	pids := map[int]bool{s.Server("store").PID: true}
	for range 5 {
		var state supervisor.State
		if err := s.Control(supervisor.VerbRestart, "store", &state); err != nil {
			t.Fatal(err)
		}
		pids[state.Servers[0].PID] = true
	}
	for _, problem := range load.Stop() {
		t.Error(problem)
	}
	if len(pids) != 6 {
		t.Errorf("5 restarts, and these processes served: %v", fmt.Sprint(pids))
	}
}
