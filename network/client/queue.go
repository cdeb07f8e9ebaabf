package client

import "gvisor.dev/gvisor/pkg/tcpip/stack"

// queue holds packets that wait to be sent: in the order of their arrival within
// a flow, and by turns among the flows, so that the first packet of a new
// connection does not wait for all that older ones have queued. Its owner bounds
// it.
type queue struct {
	flows map[uint32]*flow
	turn  []*flow // those with packets; the first is next
	n     int
}

type flow struct {
	hash    uint32
	packets []*stack.PacketBuffer
}

func (q *queue) len() int { return q.n }

func (q *queue) push(p *stack.PacketBuffer) {
	f := q.flows[p.Hash]
	if f == nil {
		if q.flows == nil {
			q.flows = make(map[uint32]*flow)
		}
		f = &flow{hash: p.Hash}
		q.flows[p.Hash] = f
		q.turn = append(q.turn, f)
	}
	f.packets = append(f.packets, p)
	q.n++
}

// first is the next packet; there must be one.
func (q *queue) first() *stack.PacketBuffer { return q.turn[0].packets[0] }

func (q *queue) pop() *stack.PacketBuffer {
	f := q.turn[0]
	p := f.packets[0]
	f.packets[0] = nil
	f.packets = f.packets[1:]
	q.n--
	q.turn[0] = nil
	q.turn = q.turn[1:]
	if len(f.packets) > 0 {
		q.turn = append(q.turn, f)
	} else {
		delete(q.flows, f.hash)
	}
	return p
}
