package client

import (
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

func TestQueueServesFlowsByTurns(t *testing.T) {
	var q queue
	for i, hash := range []uint32{1, 1, 1, 2, 2, 3} {
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{})
		p.Hash, p.Mark = hash, uint32(i)
		q.push(p)
	}
	for i, want := range []uint32{0, 3, 5, 1, 4, 2} {
		if q.first().Mark != want {
			t.Errorf("packet %d is %d, want %d", i, q.first().Mark, want)
		}
		q.pop().DecRef()
	}
	if q.len() != 0 || len(q.flows) != 0 || len(q.turn) != 0 {
		t.Errorf("%d packets and %d flows are left", q.len(), len(q.flows))
	}
}
