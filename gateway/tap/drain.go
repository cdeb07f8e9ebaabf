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
// of the end of connections that belong to no process.
const (
	drainPeriodMin = time.Millisecond
	drainPeriodMax = 100 * time.Millisecond
)

// unfinished are the states of connections, as in /proc/net/tcp, whose program has
// closed them while something is still to be sent, to be acknowledged, or to be closed
// by the peer: FIN_WAIT1, FIN_WAIT2, LAST_ACK and CLOSING.
var unfinished = map[string]bool{"04": true, "05": true, "09": true, "0B": true}

// Drain waits until no connection inside is unfinished, until the port or the interface
// has come to its end, or until ctx ends, which is no error either. It is for when the
// processes inside have ended.
func (g *Gateway) Drain(ctx context.Context) error {
	for period := drainPeriodMin; ; period = min(2*period, drainPeriodMax) {
		n := 0
		err := g.Do(func() (err error) {
			n, err = countUnfinished()
			return err
		})
		if err != nil {
			return fmt.Errorf("look for connections that are not finished: %w", err)
		}
		if n == 0 {
			return nil
		}
		select {
		case <-time.After(period):
		case <-g.ended:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
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
