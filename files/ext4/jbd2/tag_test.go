package jbd2

import (
	"math/rand/v2"
	"testing"
)

// TestTagsOfWideBlocks: block numbers beyond 2^32 (volumes past 16 TiB) survive
// in tags and revoke blocks of every layout that is wide.
func TestTagsOfWideBlocks(t *testing.T) {
	for _, incompat := range []uint32{Incompat64Bit, Incompat64Bit | IncompatChecksumV2, Incompat64Bit | IncompatChecksumV3} {
		l := (&Superblock{BlockSize: 1024, Incompat: incompat}).layout()
		p := make([]byte, 1024)
		var g group
		g.open(p, 7)
		var want []uint64
		for range l.tagsPerBlock() {
			block := rand.Uint64() >> rand.IntN(64)
			want = append(want, block)
			g.add(&l, 7, block, make([]byte, 1024))
		}
		g.close(&l, [16]byte{1})
		var got []uint64
		l.tags(p, func(tag tag) bool { got = append(got, tag.block); return true })
		if len(got) != len(want) || !l.tailValid(p) {
			t.Fatalf("%s: %d tags of %d, checksum valid: %v", IncompatString(incompat), len(got), len(want), l.tailValid(p))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%s: tag %d names block %#x, want %#x", IncompatString(incompat), i, got[i], want[i])
			}
		}
		table := make(revokeTable)
		r := make([]byte, 1024)
		revoked := want[:min(len(want), l.revokesPerBlock())]
		putRevokes(&l, r, 7, revoked)
		if _, ok := table.addBlock(&l, r, 7); !ok {
			t.Fatalf("%s: revoke block refused", IncompatString(incompat))
		}
		for _, block := range revoked {
			if !table.revoked(block, 7) || table.revoked(block, 8) {
				t.Fatalf("%s: block %#x is not revoked up to transaction 7", IncompatString(incompat), block)
			}
		}
	}
}

// TestSequencesWrap: transaction numbers are compared modulo 2^32.
func TestSequencesWrap(t *testing.T) {
	if !after(1, 0xFFFFFFFF) || after(0xFFFFFFFF, 1) || after(5, 5) {
		t.Fatal("1 comes after 2^32-1, and nothing comes after itself")
	}
	table := revokeTable{}
	table.add(9, 0xFFFFFFFF)
	table.add(9, 2)
	if !table.revoked(9, 1) || table.revoked(9, 3) {
		t.Fatal("a revoke record after the wrap is the latest")
	}
}
