package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/app"
)

const (
	// gapStreams connections carry the load.
	gapStreams = 4
	// gapWindow is how long after a death the streams are watched: longer than the
	// retransmission timeout of TCP.
	gapWindow = 300 * time.Millisecond
)

// gaps: how long nothing arrives at a program after the server was killed, in the
// manner of RFC 6201. Beside it stand the gaps in windows of the same length without
// a death.
func (w *wire) gaps(ctx context.Context) (rows []Row, err error) {
	var deaths, calm []float64
	var broken error
	err = w.during(ctx, 2, func(route *trafficRoute) error {
		s, err := startStreams(ctx, route.socket())
		if err != nil {
			return err
		}
		defer func() { broken = s.stop() }()
		for kill := range killsPerRound * w.Rounds {
			w.say("kill %d of %d", kill+1, killsPerRound*w.Rounds)
			state, err := route.running.ready(ctx)
			if err != nil {
				return err
			}
			calm = append(calm, s.watch(gapWindow))
			server, err := os.FindProcess(state.PID)
			if err != nil {
				return err
			}
			s.reset()
			if err := server.Kill(); err != nil {
				return fmt.Errorf("kill the server: %w", err)
			}
			deaths = append(deaths, s.longest(gapWindow))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(deaths)
	slices.Sort(calm)
	c := here()
	c.Note = fmt.Sprintf("%d kills, %d streams, standby warm", len(deaths), gapStreams)
	if broken != nil {
		w.say("connections lost: %v", broken)
	}
	for _, point := range []struct {
		name  string
		index int
	}{{"p50", len(deaths) / 2}, {"p99", (len(deaths)*99+99)/100 - 1}, {"max", len(deaths) - 1}} {
		rows = append(rows, compared("gap in a stream at SIGKILL of the server, "+point.name, "ms",
			deaths[point.index]/1e6, "the same without a death", calm[point.index]/1e6, c))
	}
	return append(rows, Row{Name: "connections lost", Unit: "of " + fmt.Sprint(gapStreams), Value: float64(len(problems(broken))), Conditions: c}), nil
}

// problems are those that were joined.
func problems(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// streams are connections between two programs that never pause by themselves.
type streams struct {
	stopped  atomic.Bool
	conns    []net.Conn
	last     [gapStreams]atomic.Int64 // ns since began, of the last arrival
	gap      [gapStreams]atomic.Int64 // the longest since the last reset
	began    time.Time
	running  sync.WaitGroup
	problems [2 * gapStreams]error
}

func startStreams(ctx context.Context, socket string) (*streams, error) {
	var ends [2]*app.Network
	for i := range ends {
		a, err := app.Connect(ctx, app.WithSocket(socket), app.WithName(trafficName(i)))
		if err != nil {
			return nil, err
		}
		if ends[i], err = a.Network(ctx, trafficNetwork); err != nil {
			return nil, err
		}
	}
	l, err := ends[1].Listen("tcp4", fmt.Sprintf(":%d", sinkPort))
	if err != nil {
		return nil, err
	}
	s := &streams{began: time.Now()}
	for i := range gapStreams {
		near, err := ends[0].DialContext(ctx, "tcp4", fmt.Sprintf("%v:%d", trafficAddress(1), sinkPort))
		if err != nil {
			return nil, err
		}
		far, err := l.Accept()
		if err != nil {
			return nil, err
		}
		s.conns = append(s.conns, near, far)
		s.running.Go(func() { s.problems[2*i] = s.send(near) })
		s.running.Go(func() { s.problems[2*i+1] = s.receive(i, far) })
	}
	return s, nil
}

func (s *streams) send(conn net.Conn) error {
	chunk := make([]byte, streamChunkBytes)
	for !s.stopped.Load() {
		if _, err := conn.Write(chunk); err != nil {
			return err
		}
	}
	return conn.(interface{ CloseWrite() error }).CloseWrite()
}

func (s *streams) receive(i int, conn net.Conn) error {
	buffer := make([]byte, streamChunkBytes)
	for {
		_, err := conn.Read(buffer)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		now := int64(time.Since(s.began))
		if gap := now - s.last[i].Swap(now); gap > s.gap[i].Load() {
			s.gap[i].Store(gap)
		}
	}
}

// reset forgets the gaps so far, and those that go on.
func (s *streams) reset() {
	for i := range s.gap {
		s.last[i].Store(int64(time.Since(s.began)))
		s.gap[i].Store(0)
	}
}

// longest is the longest gap of any stream in a window that begins now, in ns.
func (s *streams) longest(window time.Duration) float64 {
	time.Sleep(window)
	var longest int64
	for i := range s.gap {
		longest = max(longest, s.gap[i].Load(), int64(time.Since(s.began))-s.last[i].Load())
	}
	return float64(longest)
}

func (s *streams) watch(window time.Duration) float64 {
	s.reset()
	return s.longest(window)
}

// stop ends the streams, and returns what broke any of them.
func (s *streams) stop() error {
	s.stopped.Store(true)
	ended := make(chan struct{})
	go func() { s.running.Wait(); close(ended) }()
	select {
	case <-ended:
		return errors.Join(s.problems[:]...)
	case <-time.After(systemWait):
		return errors.New("a stream hangs")
	}
}
