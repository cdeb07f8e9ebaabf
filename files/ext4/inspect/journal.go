package inspect

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quintet-os/quintet/files/ext4/jbd2"
)

// Journal is what the journal holds.
type Journal struct {
	Blocks       uint32        `json:"blocks"`
	Features     string        `json:"features"`
	UUID         string        `json:"uuid"`
	First        uint32        `json:"first"`    // block of the log
	Start        uint32        `json:"start"`    // block of the oldest transaction; 0 when there is none
	Sequence     uint32        `json:"sequence"` // of the oldest transaction, or of the next
	Errno        int32         `json:"errno"`    // why it was aborted, or 0
	Transactions []Transaction `json:"transactions"`
	// Damage is why the log cannot be read to its end.
	Damage string `json:"damage,omitempty"`
}

// Transaction is one transaction in the log.
type Transaction struct {
	Sequence  uint32    `json:"sequence"`
	At        uint32    `json:"at"`                 // first block of the log
	Blocks    []uint64  `json:"blocks"`             // of the volume, that it changes
	Revoked   []uint64  `json:"revoked,omitempty"`  // that older transactions must not bring back
	Committed time.Time `json:"committed,omitzero"` // zero: it has no commit block
	Replayed  bool      `json:"replayed"`           // by recovery, as it is complete
}

// Journal reads the log of an image opened raw. With a path, only the transactions
// that change the block of that file's inode are listed.
func (m *Image) Journal(path string) (*Journal, error) {
	log, err := m.f.Journal()
	if err != nil {
		return nil, err
	}
	sb, err := log.Load()
	if err != nil {
		return nil, err
	}
	j := &Journal{Blocks: sb.Blocks, Features: jbd2.IncompatString(sb.Incompat), UUID: uuid(sb.UUID), First: sb.First,
		Start: sb.Start, Sequence: sb.Sequence, Errno: sb.Errno, Transactions: []Transaction{}}
	if err := log.Records(j.add); err != nil {
		j.Damage = err.Error()
	}
	if path == "" {
		return j, nil
	}
	ino, err := m.resolve(path, false)
	if err != nil {
		return nil, err
	}
	block, _, err := m.f.InodeBlock(ino)
	if err != nil {
		return nil, err
	}
	j.Transactions = slices.DeleteFunc(j.Transactions, func(t Transaction) bool { return !slices.Contains(t.Blocks, block) })
	return j, nil
}

func (j *Journal) add(r jbd2.Record) bool {
	n := len(j.Transactions)
	if n == 0 || j.Transactions[n-1].Sequence != r.Sequence {
		j.Transactions = append(j.Transactions, Transaction{Sequence: r.Sequence, At: r.At, Replayed: r.Replayed, Blocks: []uint64{}})
		n++
	}
	t := &j.Transactions[n-1]
	switch r.Kind {
	case jbd2.RecordDescriptor:
		t.Blocks = append(t.Blocks, r.Blocks...)
	case jbd2.RecordRevoke:
		t.Revoked = append(t.Revoked, r.Blocks...)
	case jbd2.RecordCommit:
		t.Committed = r.Time.UTC()
	}
	return true
}

// Print writes the journal for people.
func (j *Journal) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Journal: %d blocks, features %s, UUID %s\n", j.Blocks, j.Features, j.UUID)
	if j.Start == 0 {
		fmt.Fprintf(&b, "Empty; the next transaction is %d\n", j.Sequence)
	} else {
		fmt.Fprintf(&b, "Starts at block %d with transaction %d\n", j.Start, j.Sequence)
	}
	if j.Errno != 0 {
		fmt.Fprintf(&b, "Was aborted with error %d\n", j.Errno)
	}
	if j.Damage != "" {
		fmt.Fprintf(&b, "Damaged: %s\n", printable(j.Damage))
	}
	if _, err := io.WriteString(w, b.String()); err != nil || len(j.Transactions) == 0 {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nTRANSACTION\tAT\tCHANGED\tREVOKED\tCOMMITTED\tBLOCKS")
	for _, t := range j.Transactions {
		committed := "incomplete"
		if t.Replayed {
			committed = t.Committed.Format("2006-01-02 15:04:05.000")
		}
		fmt.Fprintf(table, "%d\t%d\t%d\t%d\t%s\t%s\n", t.Sequence, t.At, len(t.Blocks), len(t.Revoked), committed, ranges(t.Blocks))
	}
	return table.Flush()
}

// ranges writes block numbers in order, runs of them as first-last.
func ranges(blocks []uint64) string {
	sorted := slices.Clone(blocks)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	var parts []string
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n] == sorted[0]+uint64(n) {
			n++
		}
		if n == 1 {
			parts = append(parts, fmt.Sprint(sorted[0]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", sorted[0], sorted[n-1]))
		}
		sorted = sorted[n:]
	}
	return strings.Join(parts, " ")
}
