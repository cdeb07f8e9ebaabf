package bench

import (
	"bytes"
	"encoding/json"
	"testing"
)

// TestRowsHaveEveryKey: readers of --json index the keys of any row, also of one
// that has no peer.
func TestRowsHaveEveryKey(t *testing.T) {
	var out bytes.Buffer
	if err := WriteJSON(&out, []Row{{}, {Name: "a", Unit: "ns", Value: 1, Peer: "b", PeerValue: 2, Ratio: 0.5}}); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]json.RawMessage
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, row := range rows {
		for _, key := range []string{"name", "unit", "value", "peer", "peer_value", "ratio", "conditions"} {
			if _, has := row[key]; !has {
				t.Errorf("row %d lacks %s", i+1, key)
			}
		}
	}
	out.Reset()
	if err := WriteJSON(&out, nil); err != nil || out.String() != "[]\n" {
		t.Errorf("no rows: %q, %v", out.String(), err)
	}
}
