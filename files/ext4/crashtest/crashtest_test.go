package crashtest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestImagesShareAndDoNotLeak compares images and their clones with slices.
func TestImagesShareAndDoNotLeak(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const pages = 2000
	images, models := []*Image{NewImage(pages * Grain)}, [][]byte{make([]byte, pages*Grain)}
	for range 3000 {
		i := r.IntN(len(images))
		off, n := r.IntN(pages-10), 1+r.IntN(10)
		span := models[i][off*Grain : (off+n)*Grain]
		switch r.IntN(20) {
		case 0:
			if len(images) < 8 {
				images, models = append(images, images[i].Clone()), append(models, bytes.Clone(models[i]))
			} else {
				k := r.IntN(len(images))
				images[k], models[k] = images[i].Clone(), bytes.Clone(models[i])
			}
		case 1:
			if err := images[i].WriteZeroes(int64(off)*Grain, int64(n)*Grain); err != nil {
				t.Fatal(err)
			}
			clear(span)
		default:
			for k := range span {
				span[k] = byte(r.Uint32())
			}
			if _, err := images[i].WriteAt(span, int64(off)*Grain); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range images {
		if !bytes.Equal(images[i].Bytes(), models[i]) {
			t.Fatalf("image %d differs from its model", i)
		}
	}
	if _, err := images[0].WriteAt(make([]byte, Grain), pages*Grain); err == nil {
		t.Fatal("a write beyond the end was accepted")
	}
	if _, err := images[0].ReadAt(make([]byte, 10), 0); err == nil {
		t.Fatal("a read of part of a page was accepted")
	}
}

func pageOf(b byte) []byte { return bytes.Repeat([]byte{b}, Grain) }

// TestStatesAreAllThatPowerLossCanLeave: two pages written in one request, then
// one of them again, around a flush.
func TestStatesAreAllThatPowerLossCanLeave(t *testing.T) {
	recorder := NewRecorder(NewImage(4 * Grain))
	write := func(page int64, content ...byte) {
		var p []byte
		for _, b := range content {
			p = append(p, pageOf(b)...)
		}
		if _, err := recorder.WriteAt(p, page*Grain); err != nil {
			t.Fatal(err)
		}
	}
	write(0, 1)
	if err := recorder.Flush(); err != nil {
		t.Fatal(err)
	}
	recorder.Mark("flushed")
	write(1, 2, 2)
	write(1, 3)
	var mu sync.Mutex
	seen := map[string]int{}
	_, err := recorder.States(Sweep{Seed: 1, Tear: Grain, Samples: 2000}, func(s State) error {
		content := s.Image.Bytes()
		state := string([]byte{'0' + content[0], '0' + content[Grain], '0' + content[2*Grain]})
		if len(s.Marks) == 1 && state[0] != '1' {
			return errors.New("what was flushed is lost")
		}
		mu.Lock()
		seen[state]++
		mu.Unlock()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Before the flush: nothing or the first page. After: of page 1, old,
	// second or third content; of page 2, old or second.
	for _, state := range []string{"000", "100", "120", "102", "122", "130", "132"} {
		if seen[state] == 0 {
			t.Errorf("state %s was never made", state)
		}
		delete(seen, state)
	}
	for state := range seen {
		t.Errorf("state %s cannot be", state)
	}
}

// TestSweepsStopAtAFailureAndCanBeRepeated: the same seed makes the same states.
func TestSweepsStopAtAFailureAndCanBeRepeated(t *testing.T) {
	recorder := NewRecorder(NewImage(64 * Grain))
	for i := range int64(50) {
		if _, err := recorder.WriteAt(pageOf(byte(i+1)), i*Grain); err != nil {
			t.Fatal(err)
		}
	}
	sweep := Sweep{Seed: 5, Tear: Grain, Samples: 3, Workers: 1}
	var first, again []string
	for _, states := range []*[]string{&first, &again} {
		n, err := recorder.States(sweep, func(s State) error {
			*states = append(*states, string(s.Image.Bytes()))
			return nil
		})
		if err != nil || n != 51*4 {
			t.Fatalf("%d states, %v", n, err)
		}
	}
	for i := range first {
		if first[i] != again[i] {
			t.Fatalf("state %d is another the second time", i)
		}
	}
	bad := errors.New("bad")
	n, err := recorder.States(sweep, func(s State) error {
		if len(again) > 0 {
			again = again[1:]
		}
		if len(again) < 150 {
			return bad
		}
		return nil
	})
	if !errors.Is(err, bad) || n > 51*4-150+3 {
		t.Fatalf("the sweep went on to %d states after a failure: %v", n, err)
	}
}

// TestFaultsFailEachOperationOnce and, when sticky, all that follow.
func TestFaultsFailEachOperationOnce(t *testing.T) {
	for _, sticky := range []bool{false, true} {
		for at := range int64(4) {
			f := &Faults{Volume: NewImage(Grain), At: at, Sticky: sticky, Reads: true}
			p := pageOf(1)
			_, e0 := f.WriteAt(p, 0)
			e1 := f.Flush()
			_, e2 := f.ReadAt(p, 0)
			for i, err := range []error{e0, e1, e2} {
				want := int64(i) == at || sticky && int64(i) > at
				if errors.Is(err, ErrFault) != want {
					t.Errorf("at %d, sticky %v: operation %d: %v", at, sticky, i, err)
				}
			}
			if f.Tripped() != (at < 3) {
				t.Errorf("at %d: tripped is %v after three operations", at, f.Tripped())
			}
		}
	}
}
