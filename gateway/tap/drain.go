package tap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// drainPeriodMin and drainPeriodMax are how often Drain looks: the kernel tells nobody
// of the end of connections that belong to no process, nor that it has sent what waited
// for a neighbour.
const (
	drainPeriodMin = time.Millisecond
	drainPeriodMax = 100 * time.Millisecond
)

// unfinished are the states of connections, as in /proc/net/tcp, whose program has
// closed them while something is still to be sent, to be acknowledged, or to be closed
// by the peer: FIN_WAIT1, FIN_WAIT2, LAST_ACK and CLOSING.
var unfinished = map[string]bool{"04": true, "05": true, "09": true, "0B": true}

// Drain waits until the server has taken all that the processes inside have sent: until no
// connection is unfinished, no neighbour is being asked for, whom datagrams in the kernel
// may wait for, and the interface has been empty. It ends as well when the port or
// the interface has come to its end, and when ctx ends, which is no error either. It is
// for when the processes inside have ended.
func (g *Gateway) Drain(ctx context.Context) error {
	settled := false
	for period := drainPeriodMin; ; period = min(2*period, drainPeriodMax) {
		n, err := g.unfinished()
		if err != nil {
			return fmt.Errorf("look for what is not finished: %w", err)
		}
		if n == 0 {
			// Who is not waited for any more may only just have sent what waited, so that
			// takes a second look. Others may speak to the kernel inside for ever, so
			// there is no third.
			if g.pump.Drain(ctx) != nil || settled {
				return nil
			}
			period = drainPeriodMin
		}
		settled = n == 0
		select {
		case <-time.After(period):
		case <-g.ended:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// unfinished counts what may still have something to send.
func (g *Gateway) unfinished() (n int, err error) {
	err = g.Do(func() (err error) {
		n, err = countUnfinished()
		return err
	})
	if n > 0 || err != nil {
		return n, err
	}
	return g.namespace.Unresolved()
}

// countUnfinished counts the connections of the calling thread's namespace.
func countUnfinished() (n int, err error) {
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open("/proc/thread-self/net/" + table)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return 0, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if fields := strings.Fields(lines.Text()); len(fields) > 3 && unfinished[fields[3]] {
				n++
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return 0, err
		}
	}
	return n, nil
}
