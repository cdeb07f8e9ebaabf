package storagetest

import (
	"testing"

	"github.com/quintet-os/quintet/storage"
)

// TestHistoryDecides runs the oracle over short histories of one block, in the
// notation: operation, value, begin, end.
func TestHistoryDecides(t *testing.T) {
	const w, r, z, d = storage.OpWrite, storage.OpRead, storage.OpWriteZeroes, storage.OpDiscard
	type step struct {
		op         storage.Op
		value      uint64
		begin, end int64
	}
	for name, c := range map[string]struct {
		ok    bool
		steps []step
	}{
		"reads the last write":           {true, []step{{w, 1, 1, 2}, {w, 2, 3, 4}, {r, 2, 5, 6}}},
		"reads either of concurrent":     {true, []step{{w, 1, 1, 4}, {w, 2, 2, 3}, {r, 1, 5, 6}}},
		"reads a write under way":        {true, []step{{w, 1, 1, 6}, {r, 1, 2, 3}, {r, 1, 4, 5}}},
		"reads old before, new after":    {true, []step{{w, 1, 1, 2}, {w, 2, 3, 10}, {r, 1, 4, 5}, {r, 2, 6, 7}}},
		"zeroes at the beginning":        {true, []step{{r, 0, 1, 2}, {w, 1, 3, 4}}},
		"zeroes after zeroing":           {true, []step{{w, 1, 1, 2}, {z, 0, 3, 4}, {r, 0, 5, 6}}},
		"discard zeroes":                 {true, []step{{w, 1, 1, 2}, {d, 0, 3, 4}, {r, 0, 5, 6}}},
		"discard leaves":                 {true, []step{{w, 1, 1, 2}, {d, 0, 3, 4}, {r, 1, 5, 6}}},
		"loses an acknowledged write":    {false, []step{{w, 1, 1, 2}, {w, 2, 3, 4}, {r, 1, 5, 6}}},
		"loses the only write":           {false, []step{{w, 1, 1, 2}, {r, 0, 3, 4}}},
		"old value comes back":           {false, []step{{w, 1, 1, 10}, {w, 2, 2, 9}, {r, 1, 3, 4}, {r, 2, 5, 6}, {r, 1, 7, 8}}},
		"unseen old value comes back":    {false, []step{{w, 1, 1, 2}, {w, 2, 3, 10}, {r, 2, 4, 5}, {r, 1, 6, 7}}},
		"executed twice":                 {false, []step{{w, 1, 1, 2}, {w, 2, 3, 4}, {r, 2, 5, 6}, {r, 1, 7, 8}}},
		"zeroing is lost":                {false, []step{{w, 1, 1, 2}, {z, 0, 3, 4}, {r, 1, 5, 6}}},
		"zeroes again after a write":     {false, []step{{z, 0, 1, 2}, {w, 1, 3, 4}, {r, 0, 5, 6}}},
		"zeroes amid a value":            {false, []step{{w, 1, 1, 2}, {r, 0, 3, 4}, {z, 0, 3, 9}, {r, 1, 5, 6}}},
		"read before it was written":     {false, []step{{r, 1, 1, 2}, {w, 1, 3, 4}}},
		"read and never written":         {false, []step{{r, 7, 1, 2}}},
		"discard does not hide a write":  {false, []step{{d, 0, 1, 2}, {w, 1, 3, 4}, {r, 0, 5, 6}}},
		"concurrent writes seen swapped": {false, []step{{w, 1, 1, 3}, {w, 2, 2, 4}, {r, 1, 5, 6}, {r, 2, 7, 8}}},
	} {
		h := NewHistory(512)
		for _, s := range c.steps {
			e := event{op: s.op, begin: s.begin, end: s.end, n: 1, value: s.value}
			if s.op == r {
				e.value, e.seen = 0, []uint64{s.value}
			}
			h.events = append(h.events, e)
		}
		if err := h.Check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
