package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/network"
)

const (
	// smallFrameBytes is that of the smallest Ethernet frame, without its check
	// sequence.
	smallFrameBytes = 60
	// frameBuffers are those of a port that frames are sent through. All are used twice
	// before anything is measured: the first use of a page is slow.
	frameBuffers = 512
	// burstFrames is how many frames a port sends before it is the next one's turn.
	burstFrames = 32
	// rateSteps is how often the search for the highest rate halves its range.
	rateSteps = 7
	// straggleMax is how long after the last frame was sent frames may arrive.
	straggleMax = 2 * time.Second
)

// forwarding: the smallest frames from port to port, in the manner of RFC 2544.
func (w *wire) forwarding(ctx context.Context) (rows []Row, err error) {
	for _, ports := range []int{2, 4, 16, 64} {
		name := fmt.Sprintf("forwarding 64-byte frames, %d ports", ports)
		results, err := w.alternateFigures(ctx, name, []measurer{{"quintet", func(ctx context.Context) (figures, error) {
			return w.forwardOnce(ctx, ports)
		}}})
		if err != nil {
			return rows, err
		}
		c := here()
		c.Rounds, c.Note = w.Rounds, "one process sends to and receives from all ports"
		for _, f := range []tcpFigure{{", no loss", "zero", "Mpps"}, {", as fast as they are taken", "most", "Mpps"}, {", for each second of the server's", "core", "Mpps"}} {
			rows = append(rows, Row{Name: name + f.suffix, Unit: f.unit, Value: results[0][f.figure], Conditions: c})
		}
	}
	return rows, nil
}

func (w *wire) forwardOnce(ctx context.Context, ports int) (f figures, err error) {
	err = w.during(ctx, ports, func(route *trafficRoute) error {
		ctx, cancel := context.WithTimeout(ctx, (rateSteps+2)*(w.Duration+straggleMax)+sideGrace)
		defer cancel()
		side, err := startSide(ctx, "frames", task{Duration: w.Duration, Callers: ports, Socket: route.socket(), PIDs: []int{route.server}}, anyCPU)
		if err != nil {
			return err
		}
		return side.result(&f)
	})
	return f, err
}

// tester sends frames from each port to the next one, and receives them there.
type tester struct {
	ports  []*app.Port
	frames [][]byte // what each port sends
	got    uint64
}

// sendFrames measures how fast frames are forwarded.
func sendFrames(t task) (any, error) {
	d, err := newTester(t)
	if err != nil {
		return nil, err
	}
	for warm := uint64(0); warm < uint64(2*frameBuffers*len(d.ports)); warm += d.got {
		if _, err := d.saturate(t.Duration / 4); err != nil {
			return nil, err
		}
	}
	before, err := cpuOfAll(t.PIDs)
	if err != nil {
		return nil, err
	}
	most, err := d.saturate(t.Duration)
	if err != nil {
		return nil, err
	}
	after, err := cpuOfAll(t.PIDs)
	if err != nil {
		return nil, err
	}
	low, high := 0.0, most*1.1
	for range rateSteps {
		rate := (low + high) / 2
		lost, err := d.offer(rate, t.Duration)
		if err != nil {
			return nil, err
		}
		if lost {
			high = rate
		} else {
			low = rate
		}
	}
	return figures{"zero": low / 1e6, "most": most / 1e6, "core": most * t.Duration.Seconds() / (after - before).Seconds() / 1e6}, nil
}

func newTester(t task) (*tester, error) {
	d := new(tester)
	for i := range t.Callers {
		a, err := app.Connect(context.Background(), app.WithSocket(t.Socket), app.WithName(trafficName(i)))
		if err != nil {
			return nil, err
		}
		port, err := a.Port(context.Background(), trafficNetwork, app.FrameBuffers(frameBuffers))
		if err != nil {
			return nil, err
		}
		d.ports = append(d.ports, port)
	}
	for i, port := range d.ports {
		next := (i + 1) % len(d.ports)
		d.frames = append(d.frames, datagram(d.ports[next].Interface.MAC, port.Interface.MAC, i, next))
	}
	return d, nil
}

// datagram is the smallest frame from one program to another.
func datagram(to, from network.MAC, sender, receiver int) []byte {
	const etherIPv4, protocolUDP = 0x0800, 17
	f := binary.BigEndian.AppendUint16(append(append([]byte(nil), to[:]...), from[:]...), etherIPv4)
	f = append(f, 0x45, 0, 0, smallFrameBytes-network.EthernetBytes, 0, 0, 0, 0, 64, protocolUDP, 0, 0)
	source, destination := trafficAddress(sender).As4(), trafficAddress(receiver).As4()
	f = append(append(f, source[:]...), destination[:]...)
	return append(f, make([]byte, smallFrameBytes-len(f))...)
}

// receive takes what has arrived anywhere.
func (d *tester) receive() error {
	for _, port := range d.ports {
		n, err := port.Poll(2*burstFrames, func([]byte, network.Offload) {})
		if err != nil {
			return err
		}
		d.got += uint64(n)
	}
	return nil
}

// saturate sends whatever the rings take, and returns the frames received in a
// second.
func (d *tester) saturate(duration time.Duration) (perSecond float64, err error) {
	d.got = 0
	var sent uint64
	began := time.Now()
	for time.Since(began) < duration {
		for i, port := range d.ports {
			for range burstFrames {
				if !port.Send(network.Offload{}, d.frames[i]) {
					break
				}
				sent++
			}
		}
		if err := d.receive(); err != nil {
			return 0, err
		}
	}
	took := time.Since(began)
	perSecond = float64(d.got) / took.Seconds()
	if err := d.straggle(sent); err != nil {
		return 0, err
	}
	if d.got != sent {
		return 0, fmt.Errorf("%d of %d frames arrived, although they wait for room", d.got, sent)
	}
	return perSecond, nil
}

// straggle receives until all frames are there, or none has come for a while.
func (d *tester) straggle(sent uint64) error {
	for last := time.Now(); d.got < sent && time.Since(last) < straggleMax; {
		got := d.got
		if err := d.receive(); err != nil {
			return err
		}
		if d.got > got {
			last = time.Now()
		}
	}
	return nil
}

// offer sends at a rate, in frames a second of all ports together. A frame that is
// due and finds no room in its ring is lost, as on a wire; the trial ends with it.
func (d *tester) offer(rate float64, duration time.Duration) (lost bool, err error) {
	d.got = 0
	var sent uint64
	next := 0
	for began := time.Now(); ; {
		passed := time.Since(began)
		if passed >= duration {
			break
		}
		for due := uint64(rate * passed.Seconds()); sent < due; {
			for range min(burstFrames, due-sent) {
				if !d.ports[next].Send(network.Offload{}, d.frames[next]) {
					return true, d.straggle(sent)
				}
				sent++
			}
			next = (next + 1) % len(d.ports)
			if err := d.receive(); err != nil {
				return false, err
			}
		}
		if err := d.receive(); err != nil {
			return false, err
		}
	}
	if err := d.straggle(sent); err != nil {
		return false, err
	}
	return d.got < sent, nil
}
