package ext4

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

const (
	// knownShare: of the bound of cached metadata, known names take one part of
	// this many.
	knownShare = 32
	// knownBytes is what a known name takes, with its slot.
	knownBytes = 128
	// knownLenMax bounds the names that are kept, in bytes.
	knownLenMax = 64
	// knownPerBlock: directories with more blocks than there are slots for so many
	// names in each would only push one another out, and are left alone.
	knownPerBlock = 32
)

// knownNames remembers what names were found to stand for, so that looking one
// up again neither hashes it as the index does nor scans a leaf. A name is known
// until its directory changes, whichever entry it is that does.
//
// Slots are read and replaced without a lock; whoever does holds the lock of the
// directory.
type knownNames struct {
	seed  maphash.Seed
	slots []atomic.Pointer[knownName]
	used  atomic.Int64
}

type knownName struct {
	epoch, changes uint64 // of the directory
	ino            uint32
	name           string
}

func (k *knownNames) init(bytes int64) {
	n := 1
	for int64(2*n)*knownBytes <= bytes {
		n *= 2
	}
	k.seed = maphash.MakeSeed()
	k.slots = make([]atomic.Pointer[knownName], n)
}

func (k *knownNames) slot(d *inode, name string) *atomic.Pointer[knownName] {
	h := maphash.String(k.seed, name) ^ d.epoch*0x9E3779B97F4A7C15
	return &k.slots[(h^h>>32)&uint64(len(k.slots)-1)]
}

// find returns the inode of a name of d. It needs d.mu.
func (k *knownNames) find(d *inode, name string) (uint32, bool) {
	n := k.slot(d, name).Load()
	if n == nil || n.epoch != d.epoch || n.changes != d.names || n.name != name {
		return 0, false
	}
	return n.ino, true
}

// add remembers a name that was found in d, which has so many blocks. It needs
// d.mu.
func (k *knownNames) add(d *inode, blocks uint32, name string, ino uint32) {
	if len(name) > knownLenMax || isDots([]byte(name)) || uint64(blocks)*knownPerBlock > uint64(len(k.slots)) {
		return // and what ".." leads to may change without its directory
	}
	n := &knownName{epoch: d.epoch, changes: d.names, ino: ino, name: strings.Clone(name)}
	if k.slot(d, name).Swap(n) == nil {
		k.used.Add(1)
	}
}
