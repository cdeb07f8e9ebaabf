package ipc

import "testing"

func BenchmarkRoundTrip(b *testing.B) {
	p := newPair(b, Geometry{Slots: 64})
	serve(b, 0, p.session)
	var req, reply Words
	b.ReportAllocs()
	for b.Loop() {
		if err := p.client.Call(b.Context(), &req, &reply); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPipelined32(b *testing.B) {
	p := newPair(b, Geometry{Slots: 64})
	serve(b, 0, p.session)
	var calls [32]*Call
	var req, reply Words
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k := &calls[i%len(calls)]
		if *k != nil {
			if err := (*k).Wait(b.Context(), &reply); err != nil {
				b.Fatal(err)
			}
		}
		var err error
		if *k, err = p.client.Start(b.Context(), &req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSleeping never spins in the server, and the client finds it asleep.
func BenchmarkSleeping(b *testing.B) {
	p := newPair(b, Geometry{Slots: 64})
	serve(b, -1, p.session)
	var req, reply Words
	b.ReportAllocs()
	for b.Loop() {
		if err := p.client.Call(b.Context(), &req, &reply); err != nil {
			b.Fatal(err)
		}
	}
}
