package server_test

import (
	"slices"
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/storage/server"
)

const greedySlots = 32 // requests the neighbour keeps in flight

// TestGreedyNeighbourOnAnotherVolume counts the steps that a modest client's request
// takes while somebody keeps another volume of the server, a memory one, busy with the
// largest operations there are: it waits for a bounded piece of them, not for all.
func TestGreedyNeighbourOnAnotherVolume(t *testing.T) {
	for name, greedy := range map[string]storage.Request{
		"zeroing": {Op: storage.OpWriteZeroes, Volume: 1, Length: volumeBytes},
		"reading": {Op: storage.OpRead, Volume: 1, Length: storage.TransferMax},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			attacker, modest := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
			busy := 0
			var calls []*ipc.Call
			for range 200 {
				calls = slices.DeleteFunc(calls, func(call *ipc.Call) bool {
					if call.Done() {
						attacker.want(call, storage.KindOK)
						return true
					}
					return false
				})
				for len(calls) < greedySlots {
					calls = append(calls, attacker.start(greedy))
				}
				call := modest.start(read(0, 0))
				for steps := 1; !call.Done(); steps++ {
					b.core.Step(b.now)
					if steps > 3 {
						t.Fatalf("a request has waited for %d steps", steps)
					}
				}
				modest.want(call, storage.KindOK)
				if b.other.Busy() {
					busy++
				}
			}
			if busy < 100 {
				t.Errorf("the neighbour was busy at %d of 200 moments", busy)
			}
		})
	}
}

// TestSharedDeviceIsNotFilledByOne: while somebody else uses the volume, the device has
// two of the largest transfers of a session at a time, or one of which it does a small
// piece at a time, if that is somebody modest; once nobody has for a while, all that are
// asked for.
func TestSharedDeviceIsNotFilledByOne(t *testing.T) {
	const pieceBytes = 64 << 10
	for name, test := range map[string]struct {
		other storage.Request
		held  int
		piece int64
	}{
		"beside a modest session": {read(0, 0), 1, pieceBytes},
		"beside a greedy session": {storage.Request{Op: storage.OpRead, Length: storage.TransferMax}, 2, storage.TransferMax},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			greedy, other := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
			for c, r := range map[*tester]storage.Request{greedy: read(0, 0), other: test.other} {
				call := c.start(r)
				b.settle()
				c.want(call, storage.KindOK)
			}
			var pieces []int64
			b.device.Decide = func(op *storage.Operation) device.Verdict {
				pieces = append(pieces, min(op.Piece, op.Length))
				return device.Verdict{Hold: true}
			}
			var large []*ipc.Call
			for range 8 {
				large = append(large, greedy.start(storage.Request{Op: storage.OpRead, Length: storage.TransferMax}))
			}
			b.settle()
			if held := b.device.Held(); held != test.held {
				t.Errorf("the shared device has %d large transfers, want %d", held, test.held)
			}
			if pieces[0] != test.piece {
				t.Errorf("it has %d bytes of one to do at a time, want %d", pieces[0], test.piece)
			}
			one := other.start(test.other)
			b.settle()
			if held := b.device.Held(); held != test.held+1 {
				t.Errorf("the other session waits outside: the device has %d", held)
			}
			b.now += time.Second
			b.settle()
			if held := b.device.Held(); held != len(large)+1 {
				t.Errorf("the device that nobody else uses has %d transfers, want %d", held, len(large)+1)
			}
			if piece := pieces[len(pieces)-1]; piece != storage.TransferMax {
				t.Errorf("it has %d bytes of the last to do at a time", piece)
			}
			b.proceed()
			other.want(one, storage.KindOK)
			for _, call := range large {
				greedy.want(call, storage.KindOK)
			}
		})
	}
}

// TestSharedDeviceIsNotFilledByZeroing: nor does it have more than one range to zero for
// a session, however long.
func TestSharedDeviceIsNotFilledByZeroing(t *testing.T) {
	b := newBench(t)
	greedy, modest := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
	for _, c := range []*tester{greedy, modest} {
		call := c.start(read(0, 0))
		b.settle()
		c.want(call, storage.KindOK)
	}
	b.hold()
	var zeroing []*ipc.Call
	for i := int64(1); i < 4; i++ {
		zeroing = append(zeroing, greedy.start(storage.Request{Op: storage.OpWriteZeroes, Offset: i << 20, Length: 1 << 20}))
	}
	b.settle()
	if held := b.device.Held(); held != 1 {
		t.Errorf("the shared device has %d MiB to zero for one session", held)
	}
	one := modest.start(read(0, 0))
	b.settle()
	if held := b.device.Held(); held != 2 {
		t.Errorf("a read waits outside: the device has %d operations", held)
	}
	b.proceed()
	long := greedy.start(storage.Request{Op: storage.OpWriteZeroes, Offset: 1 << 20, Length: 3 << 20})
	b.settle()
	modest.want(one, storage.KindOK)
	for _, call := range append(zeroing, long) {
		greedy.want(call, storage.KindOK)
	}
}

// TestManyThatCrowd: of many sessions that are kept out beside a modest one, that of which
// the device has finished something is served at once, before the server sleeps.
func TestManyThatCrowd(t *testing.T) {
	const greedy, rounds = 200, 100
	b := newBench(t)
	b.hold()
	b.connect(false, storage.Limits{}).start(read(0, 0))
	b.settle()
	for range greedy {
		c := b.connect(false, storage.Limits{})
		for range 3 {
			c.start(storage.Request{Op: storage.OpRead, Length: storage.TransferMax})
		}
	}
	b.settle()
	if held := b.device.Held(); held != greedy+1 {
		t.Fatalf("the device has %d operations, want one of each session", held)
	}
	b.device.Release(1) // the modest one's
	b.settle()
	for range rounds {
		b.device.Release(1)
		for b.core.Step(b.now) {
		}
		if held := b.device.Held(); held != greedy {
			t.Fatalf("the server would sleep with %d of %d served", held, greedy)
		}
	}
}

// tireless is a device that always has work of its own, and counts how often it may do
// some.
type tireless struct {
	storage.Device
	reaps int
}

func (d *tireless) Busy() bool { return true }

func (d *tireless) Reap(done []storage.Completion) int {
	d.reaps++
	return d.Device.Reap(done)
}

// TestManyBusyVolumesTakeTurns: a step does the work of two devices, however many there
// are, and none waits for longer than the others.
func TestManyBusyVolumesTakeTurns(t *testing.T) {
	core := server.NewCore(ipc.NewSessions())
	var devices []*tireless
	for range 6 {
		memory, err := device.NewMemory(make([]byte, volumeBytes), blockBytes, depth)
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, &tireless{Device: memory})
		core.AddVolume("", devices[len(devices)-1])
	}
	for step := 1; step <= 9; step++ {
		if !core.Step(0) {
			t.Fatal("there is work, and the core sleeps")
		}
		total := 0
		for _, d := range devices {
			total += d.reaps
			if least := step * 2 / len(devices); d.reaps < least || d.reaps > least+1 {
				t.Fatalf("after step %d a device has had %d turns, want %d or one more", step, d.reaps, least)
			}
		}
		if total != 2*step {
			t.Fatalf("after step %d devices have had %d turns, want two for each", step, total)
		}
	}
}

// TestGreedyAfterTakeover: whoever had more in flight than is modest is not taken for
// modest by a successor, beside whom others do little at a time.
func TestGreedyAfterTakeover(t *testing.T) {
	b := newBench(t)
	large := storage.Request{Op: storage.OpRead, Length: storage.TransferMax}
	one, other := b.connect(false, storage.Limits{}), b.connect(false, storage.Limits{})
	b.hold()
	begun := []*ipc.Call{one.start(large), other.start(large)}
	b.settle()
	b.Successor()
	var pieces []int64
	b.device.Decide = func(op *storage.Operation) device.Verdict {
		pieces = append(pieces, op.Piece)
		return device.Verdict{}
	}
	b.settle()
	one.want(begun[0], storage.KindOK)
	other.want(begun[1], storage.KindOK)
	for _, c := range []*tester{one, other} {
		call := c.start(large)
		b.settle()
		c.want(call, storage.KindOK)
	}
	for _, piece := range pieces {
		if piece != storage.TransferMax {
			t.Fatalf("beside a greedy session pieces are of %d bytes", pieces)
		}
	}
}
