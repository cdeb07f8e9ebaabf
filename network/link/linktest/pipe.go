package linktest

import (
	"github.com/quintet-os/quintet/network/link"
)

// pipeMax bounds the frames on their way in one direction of a pipe.
const pipeMax = 1024

// pipe is one end of a cable in memory.
type pipe struct {
	mtu      int
	in, out  *[]link.Frame
	counters link.Counters
}

// NewPipe returns the two ends of a cable in memory, for one goroutine. Offloads pass
// as they are; the links are to be polled.
func NewPipe(mtu int) (a, b link.Link) {
	var there, back []link.Frame
	return &pipe{mtu: mtu, in: &back, out: &there}, &pipe{mtu: mtu, in: &there, out: &back}
}

func (p *pipe) Info() link.Info {
	return link.Info{Name: "pipe", MTU: p.mtu, Checksum: true, GSO: true}
}

func (p *pipe) Receive(frames []link.Frame) (int, error) {
	n := copy(frames[:min(len(frames), link.BatchMax)], *p.in)
	*p.in = (*p.in)[n:]
	for i := range frames[:n] {
		p.counters.Received++
		p.counters.ReceivedBytes += uint64(frames[i].Len())
	}
	return n, nil
}

func (p *pipe) Transmit(frames []link.Frame) (n int, err error) {
	for ; n < min(len(frames), link.BatchMax); n++ {
		f := &frames[n]
		if reason, ok := link.Admit(f, p.mtu); !ok {
			p.counters.Drops[reason]++
			continue
		}
		if len(*p.out) == pipeMax {
			break
		}
		*p.out = append(*p.out, clone(f))
		p.counters.Sent++
		p.counters.SentBytes += uint64(f.Len())
	}
	return n, nil
}

// clone is a frame in one piece, in memory of its own.
func clone(f *link.Frame) link.Frame {
	whole := make([]byte, 0, f.Len())
	return link.Frame{Head: append(append(whole, f.Head...), f.Rest...), Offload: f.Offload}
}

func (p *pipe) Counters() link.Counters { return p.counters }
func (p *pipe) Wakeup() int             { return -1 }
func (p *pipe) Close() error            { return nil }
