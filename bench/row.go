package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// Row is one line of a benchmark's table: what we measured, what the peer
// measured, and under which conditions.
type Row struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
	// Peer names the other side; empty when there is none, and then PeerValue and
	// Ratio are zero. Every row has every key, for readers that index them.
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peer_value"`
	// Ratio is Value over PeerValue.
	Ratio      float64    `json:"ratio"`
	Conditions Conditions `json:"conditions"`
}

// WriteJSON writes the rows as one JSON array.
func WriteJSON(w io.Writer, rows []Row) error {
	if rows == nil {
		rows = []Row{}
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(rows)
}

// WriteTable writes the rows for people, under the conditions they share.
func WriteTable(w io.Writer, rows []Row) error {
	if len(rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w, rows[0].Conditions.machine()); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nbenchmark\tquintet\tpeer\tratio\tbeside\tconditions")
	for _, r := range rows {
		peer, ratio := "", ""
		if r.Peer != "" {
			peer, ratio = quantity(r.PeerValue, r.Unit), fmt.Sprintf("%.2f", r.Ratio)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, quantity(r.Value, r.Unit), peer, ratio, r.Peer, r.Conditions.run())
	}
	return table.Flush()
}

// quantity formats a value to three significant digits, or as a whole number
// where that says more, with a space between thousands.
func quantity(value float64, unit string) string {
	if math.IsNaN(value) {
		return "-"
	}
	var digits string
	switch magnitude := math.Abs(value); {
	case magnitude >= 100 || magnitude == math.Trunc(magnitude):
		digits = thousands(fmt.Sprintf("%.0f", value))
	case magnitude >= 10:
		digits = fmt.Sprintf("%.1f", value)
	default:
		digits = fmt.Sprintf("%.3g", value)
	}
	return digits + " " + unit
}

func thousands(digits string) string {
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), " ")
}
