package ipc

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
)

// hostileGeometry has everything a peer could lie about, and little of it.
var hostileGeometry = Geometry{Slots: 66, RingsOut: 2, RingsIn: 2, RingEntries: 4}

// scribble plays one write of a hostile peer into its own segment: where and
// what are chosen by four bytes, so that a fuzzer finds the words that matter.
func scribble(mem []byte, g Geometry, op [4]byte) {
	at := 0
	switch op[0] & 7 {
	case 0: // the header and the words of sleeping
		at = int(op[1]) % 64 * 8
	case 1:
		at = offSubmitBits + int(op[1])%g.bitWords()*8 // the done bits lie there as well
	case 2:
		at = g.record(int(op[1]) % g.Slots)
	case 3:
		at = offRingIndices + int(op[1])%(2*RingsMax)*pairBytes
	case 4:
		at = g.attempt(0) + int(op[1])*8
	default:
		at = (int(op[1])<<8 | int(op[2])) * 8
	}
	at %= len(mem) &^ 7
	word := binary.NativeEndian.Uint64(mem[at:])
	value := uint64(op[2])
	switch op[3] & 7 {
	case 0:
		word++
	case 1:
		word--
	case 2:
		word ^= 1 << (value & 63)
	case 3:
		word = value
	case 4:
		word = ^value
	case 5:
		word = value * 0x0101010101010101
	case 6:
		word += value
	case 7:
		word += uint64(g.RingEntries)
	}
	binary.NativeEndian.PutUint64(mem[at:], word)
}

// eachOp calls f with a bounded number of four-byte operations of a fuzz input.
func eachOp(data []byte, f func(op [4]byte)) {
	const opsMax = 128
	for range opsMax {
		if len(data) < 4 {
			return
		}
		f([4]byte(data))
		data = data[4:]
	}
}

// seedHostile adds inputs that reach into each kind of word.
func seedHostile(f *testing.F) {
	f.Add([]byte{2, 3, 0, 0, 1, 0, 3, 2})              // a proper request, in two writes
	f.Add([]byte{2, 3, 9, 3, 1, 0, 3, 2})              // a sequence number from nowhere
	f.Add([]byte{2, 3, 0, 1, 1, 0, 3, 2, 8, 0, 0, 0})  // one that goes back
	f.Add([]byte{3, 0, 9, 3, 3, 17, 200, 4})           // ring indices
	f.Add([]byte{3, 0, 0, 7, 3, 0, 0, 7, 3, 16, 0, 1}) // more than the ring holds
	f.Add([]byte{0, 16, 1, 4, 0, 32, 1, 3, 0, 33, 7, 3, 0, 0, 1, 2})
	f.Add([]byte{1, 0, 255, 4, 1, 1, 255, 4}) // all bits, also beyond the slots
	f.Add([]byte{4, 0, 255, 4, 4, 3, 255, 5, 8, 3, 0, 0})
	f.Add([]byte{2, 3, 0, 0, 1 | 3<<5, 0, 3, 2, 2, 3, 0, 1, 8, 0, 0, 0}) // a request taken back after a takeover
	f.Add([]byte{2, 3, 0, 0, 1 | 4<<5, 0, 3, 2, 1 << 5, 0, 0, 2, 8, 0, 0, 2, 2 << 5, 0, 0, 2})
	f.Add([]byte{3 | 5<<5, 0, 0, 0, 3 | 6<<5, 1, 0, 0, 3 | 7<<5, 0, 2, 6, 3 | 7<<5, 17, 1, 6})
}

// FuzzHostileClient lets a client write anything into its segment between two
// steps of a server, which must not panic and must serve its other session.
func FuzzHostileClient(f *testing.F) {
	seedHostile(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		bad, good := newPair(t, hostileGeometry), newPair(t, hostileGeometry)
		set := NewSessions()
		bad.session.ID, good.session.ID = 1, 2
		set.Add(bad.session)
		set.Add(good.session)
		server := &echo{set}
		serve := func(s *Session) {
			for range RingsMax { // a hostile ring is never empty
				server.Step(0)
				var d Descriptor
				for r := range hostileGeometry.RingsOut {
					for range hostileGeometry.RingEntries {
						if !s.Out(r).Pop(&d) {
							break
						}
						s.In(r).Push(&d)
					}
					s.Out(r).Commit()
					s.In(r).Publish()
				}
			}
			set.WakeClients()
			set.Cool(1, 0)
			set.Wake(good.session)
			set.Wake(s)
		}
		eachOp(data, func(op [4]byte) {
			scribble(bad.cmem, hostileGeometry, op)
			if op[0]&8 != 0 { // a new server takes over what the peer has made of it
				takeOver(bad, set, op[0]&16 != 0)
			}
			disturb(t, bad, set, op)
			serve(bad.session)
		})
		k, err := good.client.Start(t.Context(), &Words{41})
		if err != nil {
			t.Fatal(err)
		}
		serve(bad.session)
		var got Words
		if !k.Done() {
			t.Fatal("the neighbour was not served")
		}
		if err := k.Wait(t.Context(), &got); err != nil || got[0] != 42 {
			t.Fatalf("the neighbour got %v, %v", got, err)
		}
	})
}

// takeOver lets another server have the session, which goes on in the same set. The old
// end of it must be harmless whatever is done with it.
func takeOver(p *pair, set *Sessions, pardon bool) {
	old := p.session
	set.Remove(old)
	everything(NewSessions(), old)
	s, err := NewSession(SessionConfig{ID: old.ID, Geometry: p.g, Client: p.cmem, Server: p.smem, Doorbell: p.doorbell})
	if err != nil {
		p.t.Fatal(err)
	}
	if pardon {
		s.Pardon()
	}
	s.Attach(2)
	p.session = s
	set.Add(s)
}

// disturb does to a session one of the things that a core does between two turns.
func disturb(t *testing.T, p *pair, set *Sessions, op [4]byte) {
	take := func(next func() (Request, bool), mark func(slot int)) {
		for n := 0; ; n++ {
			r, ok := next()
			if !ok {
				return
			}
			if n == p.g.Slots {
				t.Fatal("more requests than slots")
			}
			p.session.Begin(r.Slot)
			mark(r.Slot)
		}
	}
	switch op[0] >> 5 {
	case 1:
		set.Hold(p.session)
	case 2:
		set.Release(p.session)
	case 3: // left started, for a successor, before whom the client writes again
		take(p.session.Next, p.session.Execute)
		takeOver(p, set, op[0]&16 != 0)
		scribble(p.cmem, p.g, [4]byte{op[1], op[2], op[3], op[0]})
		take(p.session.NextStarted, p.session.Park)
	case 4: // left on the processor
		take(p.session.Next, p.session.Park)
		for range 3 {
			takeOver(p, set, op[0]&16 != 0)
		}
	case 5:
		set.Hold(p.session)
		takeOver(p, set, false)
	case 6:
		p.session.Fail(ReasonRequest, "")
		takeOver(p, set, false)
	case 7:
		for r := range p.session.out {
			p.session.Out(r).Pause()
		}
		set.Cool(1, 0)
		for r := range p.session.out {
			p.session.Out(r).Resume()
		}
	}
}

// FuzzHostileServer lets a server write anything into its segment between two
// calls of a client, which must not panic and must be able to give up and close.
func FuzzHostileServer(f *testing.F) {
	seedHostile(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPair(t, hostileGeometry)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		var calls []*Call
		eachOp(data, func(op [4]byte) {
			scribble(p.smem, hostileGeometry, op)
			if len(calls) < hostileGeometry.Slots/2 {
				k, err := p.client.Start(t.Context(), &Words{})
				if err == nil {
					calls = append(calls, k)
				} else if !errors.Is(err, ErrSession) {
					t.Fatalf("Start gave %v", err)
				}
			}
			var d Descriptor
			for r := range hostileGeometry.RingsOut {
				for range 2 * hostileGeometry.RingEntries {
					p.client.Out(r).Push(&d)
					p.client.In(r).Pop(&d)
				}
				p.client.Out(r).Publish()
				p.client.In(r).Commit()
			}
			for i := len(calls) - 1; i >= 0; i-- {
				if i > 0 && !calls[i].Done() {
					continue // waiting for one is enough, and takes its time
				}
				var got Words
				switch err := calls[i].Wait(over, &got); {
				case err == nil:
					calls = append(calls[:i], calls[i+1:]...)
				case !errors.Is(err, context.Canceled) && !errors.Is(err, ErrSession):
					t.Fatalf("Wait gave %v", err)
				}
			}
			if err := p.client.WaitRings(over); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrSession) {
				t.Fatalf("WaitRings gave %v", err)
			}
			p.client.Inspect()
		})
		p.client.Close()
		if _, err := p.client.Start(t.Context(), &Words{}); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrSession) {
			t.Fatalf("after Close: %v", err)
		}
	})
}
