package sim

import (
	"errors"
	"testing"
)

func TestHistory(t *testing.T) {
	write := func(h *History, v uint64, began, ended int64) {
		h.WriteBegins(v, began)
		if ended != never {
			h.WriteEnds(v, ended)
		}
	}
	undone := false // as a read already shows
	read := func(t *testing.T, h *History, v uint64, began, ended int64) {
		if err := h.Read(v, began, ended); errors.Is(err, errNotAtomic) {
			undone = true
		} else if err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name   string
		atomic bool
		run    func(*testing.T, *History)
	}{
		{"one after the other", true, func(t *testing.T, h *History) {
			write(h, 1, 0, 1)
			read(t, h, 1, 2, 3)
			write(h, 2, 4, 5)
			read(t, h, 2, 6, 7)
		}},
		{"an acknowledged write is undone", false, func(t *testing.T, h *History) {
			write(h, 1, 0, 1)
			read(t, h, 0, 2, 3)
		}},
		{"an acknowledged write is undone by zeroes", false, func(t *testing.T, h *History) {
			write(h, zeroMark+1, 0, 1)
			write(h, 1, 2, 3)
			read(t, h, 0, 4, 5)
		}},
		{"an overwritten value comes back", false, func(t *testing.T, h *History) {
			write(h, 1, 0, 1)
			write(h, 2, 2, 3)
			read(t, h, 1, 4, 5)
		}},
		{"an unanswered write may appear late", true, func(t *testing.T, h *History) {
			write(h, 1, 0, never)
			read(t, h, 0, 1, 2)
			read(t, h, 1, 3, 4)
		}},
		{"an unanswered write appears, vanishes and appears", false, func(t *testing.T, h *History) {
			write(h, 1, 0, never)
			write(h, 2, 1, never)
			read(t, h, 1, 2, 3)
			read(t, h, 2, 4, 5)
			read(t, h, 1, 6, 7)
		}},
		{"concurrent reads may differ", true, func(t *testing.T, h *History) {
			write(h, 1, 0, 10)
			read(t, h, 0, 1, 5)
			read(t, h, 1, 2, 6)
		}},
		{"zeroed data comes back", false, func(t *testing.T, h *History) {
			write(h, 1, 0, 1)
			write(h, zeroMark+1, 2, 3)
			read(t, h, 1, 4, 5)
		}},
		{"zeroed twice, written between", true, func(t *testing.T, h *History) {
			write(h, zeroMark+1, 0, 1)
			read(t, h, 0, 2, 3)
			write(h, 1, 4, 5)
			read(t, h, 1, 6, 7)
			write(h, zeroMark+2, 8, 9)
			read(t, h, 0, 10, 11)
		}},
		{"an unanswered zeroing appears and vanishes", false, func(t *testing.T, h *History) {
			write(h, 1, 0, 1)
			write(h, zeroMark+1, 2, never)
			read(t, h, 0, 3, 4)
			read(t, h, 1, 5, 6)
		}},
		{"a later read sees the older value", false, func(t *testing.T, h *History) {
			write(h, 1, 0, 10)
			read(t, h, 1, 1, 2)
			read(t, h, 0, 3, 4)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := NewHistory()
			undone = false
			c.run(t, h)
			if err := h.Check(); (err == nil && !undone) != c.atomic {
				t.Errorf("got %v, want atomic=%v", err, c.atomic)
			}
		})
	}
	if NewHistory().Read(9, 0, 1) == nil {
		t.Error("a value that nobody wrote was accepted")
	}
}
