package bench

import (
	"context"
	"fmt"
)

// contender is one of the sides that are compared.
type contender struct {
	name string
	run  func(context.Context) (Result, error)
}

// alternate runs the contenders in turn, round by round, and returns the median
// of each over the rounds.
func (o Options) alternate(ctx context.Context, what string, contenders ...contender) ([]Result, error) {
	runs := make([][]Result, len(contenders))
	for round := range o.Rounds {
		for i, c := range contenders {
			o.say("%s: %s, round %d of %d", what, c.name, round+1, o.Rounds)
			result, err := c.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", what, c.name, err)
			}
			runs[i] = append(runs[i], result)
		}
	}
	results := make([]Result, len(contenders))
	for i := range runs {
		results[i] = medians(runs[i])
	}
	return results, nil
}

// compared returns the row that sets ours beside a peer.
func compared(name, unit string, ours float64, peer string, theirs float64, c Conditions) Row {
	row := Row{Name: name, Unit: unit, Value: ours, Peer: peer, PeerValue: theirs, Conditions: c}
	if theirs != 0 {
		row.Ratio = ours / theirs
	}
	return row
}

// roundTripRows are the three rows of a latency comparison.
func roundTripRows(name string, ours Result, peer string, theirs Result, c Conditions) []Row {
	return []Row{
		compared(name+" p50", "ns", ours.P50, peer, theirs.P50, c),
		compared(name+" p99", "ns", ours.P99, peer, theirs.P99, c),
		compared(name+" p99.9", "ns", ours.P999, peer, theirs.P999, c),
	}
}
