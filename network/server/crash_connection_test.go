//go:build simulator

package server_test

import "testing"

// A server that dies at any write while connections begin, change or end, and whose
// port leaves then, has its successor tell whom it would have told.
func TestDeathAtEveryWriteForgetsNoConnection(t *testing.T) {
	for n := 0; ; n++ {
		b := newBenchOf(t, 32, hosts(2)...)
		l := link{b.sides[0], b.sides[1], false, 40000, 80}
		gone := link{l.a, l.b, false, 40001, 80}
		old := link{l.a, l.b, false, 40002, 80}
		gone.open()
		old.send(syn, 7, 0, "") // the same ends will begin anew
		l.b.received()
		died := false
		for _, step := range []func(){
			func() { l.a.send(l.segment(syn, aSeq, 0, "")); l.a.send(old.segment(syn, aSeq, 0, "")) },
			func() {
				l.b.send(l.back().segment(syn|ack, bSeq, aSeq+1, ""))
				l.b.send(old.back().segment(syn|ack, bSeq, aSeq+1, ""))
			},
			func() { l.a.send(gone.segment(rst, aSeq+1, 0, "")) },
		} {
			step()
			if !died && b.dieAt(n) {
				died = true
				b.Succeed()
			}
			b.Settle()
		}
		l.b.received()
		b.Leave(l.a.Member)
		b.Settle()
		asked := map[byte]bool{}
		for _, f := range l.b.received() {
			asked[f[14+21]] = true
		}
		if !asked[40000&0xff] || !asked[40002&0xff] || asked[40001&0xff] || len(asked) != 2 {
			t.Fatalf("death %d: the peer is asked of %v", n, asked)
		}
		if !died {
			break
		}
	}
}
