package bench

import (
	"context"
	"net/netip"
)

func trafficPrefix(i int) []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(trafficAddress(byte(i+1)), trafficBits)}
}

// tcpFigure is a row that a run of two programs gives.
type tcpFigure struct{ suffix, figure, unit string }

// stream: throughput of one connection, and what it costs.
func (w *wire) stream(ctx context.Context) ([]Row, error) {
	return w.besideVeth(ctx, "TCP, one stream", "stream", tcpFigure{"", "throughput", "Gb/s"}, tcpFigure{", processor time", "cpu", "s/GB"})
}

// ping: the time a message takes to the other program and back.
func (w *wire) ping(ctx context.Context) ([]Row, error) {
	return w.besideVeth(ctx, "TCP, 64 bytes back and forth", "ping", tcpFigure{", p50", "p50", "ns"}, tcpFigure{", p99", "p99", "ns"})
}

// connect: connections made and closed, one after the other.
func (w *wire) connect(ctx context.Context) ([]Row, error) {
	return w.besideVeth(ctx, "TCP, connect and close", "connect", tcpFigure{"", "rate", "1/s"})
}

func (w *wire) besideVeth(ctx context.Context, name, work string, wanted ...tcpFigure) (rows []Row, err error) {
	t := task{Duration: w.Duration, Work: work}
	var sides []measurer
	for _, pair := range []*trafficPair{bareSwitch(), vethPair()} {
		sides = append(sides, measurer{pair.name, func(ctx context.Context) (figures, error) { return pair.measure(ctx, t) }})
	}
	results, err := w.alternateFigures(ctx, name, sides)
	if err != nil {
		return rows, err
	}
	c := here()
	c.Rounds = w.Rounds
	for _, f := range wanted {
		rows = append(rows, compared(name+f.suffix, f.unit, results[0][f.figure], "kernel, veth", results[1][f.figure], c))
	}
	return rows, nil
}
