package supervisor

import (
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/network"
)

// statusSegment is the status segment of one server, kept over its incarnations.
type statusSegment struct {
	broker.StatusWords
	kept

	beat   uint64 // heartbeat seen last
	beatAt time.Time
}

func newStatusSegment(server string) (*statusSegment, error) {
	memory, err := newKept("quintet-status-"+server, broker.StatusBytes)
	if err != nil {
		return nil, err
	}
	words, err := broker.ViewStatus(memory.segment.Mem)
	if err != nil {
		memory.close()
		return nil, err
	}
	return &statusSegment{StatusWords: words, kept: memory, beatAt: time.Now()}, nil
}

// silence is the time since the heartbeat was seen to move, as precise as the
// period of the calls.
func (s *statusSegment) silence(now time.Time) time.Duration {
	if beat := s.Heartbeat(); beat != s.beat {
		s.beat, s.beatAt = beat, now
	}
	return now.Sub(s.beatAt)
}

func (s *statusSegment) served() uint64 { return s.Count(broker.CountRequests) }

// counterTable is the memory in which a network server counts by port, kept over its
// incarnations. Behind the counters lies what is the servers' own.
type counterTable struct {
	network.CounterTable
	kept
}

func newCounterTable(server string) (*counterTable, error) {
	memory, err := newKept("quintet-ports-"+server, network.KeptBytes)
	if err != nil {
		return nil, err
	}
	table, err := network.ViewCounters(memory.segment.Mem)
	if err != nil {
		memory.close()
		return nil, err
	}
	return &counterTable{CounterTable: table, kept: memory}, nil
}

// kept is memory of the supervisor's own that it hands to the processes of a server.
type kept struct {
	segment *shm.Segment // its mapping
	file    *descriptor
}

func newKept(name string, size int) (kept, error) {
	segment, err := shm.Create(name, size, shm.Shared)
	if err != nil {
		return kept{}, err
	}
	file := newDescriptor(segment.FD, new(disposal), nil)
	segment.FD = -1
	return kept{segment: segment, file: file}, nil
}

func (k *kept) close() {
	k.file.release()
	_ = k.segment.Close()
}
