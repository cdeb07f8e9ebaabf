package bench

import "context"

// tcpWork is what two programs do, and the rows that it gives.
type tcpWork struct {
	name, work string
	rows       []tcpFigure
}

type tcpFigure struct{ suffix, figure, unit string }

var (
	streamWork = tcpWork{"TCP, one stream", "stream", []tcpFigure{{"", "throughput", "Gb/s"}, {", processor time", "cpu", "s/GB"}}}
	pingWork   = tcpWork{"TCP, 64 bytes back and forth", "ping", []tcpFigure{{", p50", "p50", "ns"}, {", p99", "p99", "ns"}}}
	dialWork   = tcpWork{"TCP, connect and close", "connect", []tcpFigure{{"", "rate", "1/s"}}}
)

// stream: throughput of one connection, and what it costs.
func (w *wire) stream(ctx context.Context) ([]Row, error) { return w.besideVeth(ctx, streamWork) }

// ping: the time a message takes to the other program and back.
func (w *wire) ping(ctx context.Context) ([]Row, error) { return w.besideVeth(ctx, pingWork) }

// connect: connections made and closed, one after the other.
func (w *wire) connect(ctx context.Context) ([]Row, error) { return w.besideVeth(ctx, dialWork) }

func (w *wire) besideVeth(ctx context.Context, work tcpWork) ([]Row, error) {
	return w.beside(ctx, work, "kernel, veth", throughServer(), vethPair())
}

// beside measures two ways to connect the programs in turn. Both have the same
// processors.
func (w *wire) beside(ctx context.Context, work tcpWork, peer string, ours, theirs *trafficPair) (rows []Row, err error) {
	t := task{Duration: w.Duration, Work: work.work}
	var sides []measurer
	for _, pair := range []*trafficPair{ours, theirs} {
		sides = append(sides, measurer{pair.name, func(ctx context.Context) (figures, error) { return pair.measure(ctx, t) }})
	}
	results, err := w.alternateFigures(ctx, work.name, sides)
	if err != nil {
		return nil, err
	}
	c := here()
	c.Rounds = w.Rounds
	for _, f := range work.rows {
		rows = append(rows, compared(work.name+f.suffix, f.unit, results[0][f.figure], peer, results[1][f.figure], c))
	}
	return rows, nil
}
