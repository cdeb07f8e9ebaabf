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
	fd      int
	segment *shm.Segment

	beat   uint64 // heartbeat seen last
	beatAt time.Time
}

func newStatusSegment(server string) (*statusSegment, error) {
	segment, err := shm.Create("quintet-status-"+server, broker.StatusBytes, shm.Shared)
	if err != nil {
		return nil, err
	}
	words, err := broker.ViewStatus(segment.Mem)
	if err != nil {
		_ = segment.Close()
		return nil, err
	}
	return &statusSegment{StatusWords: words, fd: segment.FD, segment: segment, beatAt: time.Now()}, nil
}

// silence is the time since the heartbeat was seen to move, as precise as the
// period of the calls.
func (s *statusSegment) silence() time.Duration {
	if beat := s.Heartbeat(); beat != s.beat {
		s.beat, s.beatAt = beat, time.Now()
	}
	return time.Since(s.beatAt)
}

func (s *statusSegment) served() uint64 { return s.Count(broker.CountRequests) }

func (s *statusSegment) close() { _ = s.segment.Close() }

// counterTable is the memory in which a network server counts by port, kept over its
// incarnations.
type counterTable struct {
	network.CounterTable
	segment *shm.Segment
}

func newCounterTable(server string) (*counterTable, error) {
	segment, err := shm.Create("quintet-ports-"+server, network.CountersBytes, shm.Shared)
	if err != nil {
		return nil, err
	}
	table, err := network.ViewCounters(segment.Mem)
	if err != nil {
		_ = segment.Close()
		return nil, err
	}
	return &counterTable{CounterTable: table, segment: segment}, nil
}

func (t *counterTable) close() { _ = t.segment.Close() }
