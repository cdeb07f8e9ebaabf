package jbd2

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues a checksum over p as the kernel does, without the inversions
// at either end that package hash/crc32 makes.
func crc32c(sum uint32, p []byte) uint32 { return ^crc32.Update(^sum, castagnoli, p) }

// bigEndianTable is the table of CRC-32 taken bit by bit from the top, which
// checksum version 1 uses and hash/crc32 does not offer.
var bigEndianTable = func() (table [256]uint32) {
	for i := range table {
		c := uint32(i) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04C11DB7
			} else {
				c <<= 1
			}
		}
		table[i] = c
	}
	return table
}()

func crc32BigEndian(sum uint32, p []byte) uint32 {
	for _, b := range p {
		sum = sum<<8 ^ bigEndianTable[byte(sum>>24)^b]
	}
	return sum
}

var zeroWord [4]byte

// sumWithout is the checksum of a block taken as if the four bytes at hole were zero.
func sumWithout(seed uint32, p []byte, hole int) uint32 {
	sum := crc32c(seed, p[:hole])
	sum = crc32c(sum, zeroWord[:])
	return crc32c(sum, p[hole+4:])
}

// tailSum is the checksum that ends a descriptor or revoke block.
func (l *layout) tailSum(p []byte) uint32 { return sumWithout(l.seed, p, l.blockSize-tailSize) }

func (l *layout) tailValid(p []byte) bool {
	return !l.summed() || l.tailSum(p) == binary.BigEndian.Uint32(p[l.blockSize-tailSize:])
}

func (l *layout) putTail(p []byte) {
	if l.summed() {
		binary.BigEndian.PutUint32(p[l.blockSize-tailSize:], l.tailSum(p))
	}
}

func (l *layout) commitValid(p []byte) bool {
	return !l.summed() || sumWithout(l.seed, p, commitSumAt) == binary.BigEndian.Uint32(p[commitSumAt:])
}

// dataSum is the checksum a tag holds of its block, as the block stands in the log.
func (l *layout) dataSum(sequence uint32, p []byte) uint32 {
	if !l.summed() {
		return 0
	}
	var s [4]byte
	binary.BigEndian.PutUint32(s[:], sequence)
	sum := crc32c(crc32c(l.seed, s[:]), p)
	if !l.v3 {
		sum &= 0xFFFF
	}
	return sum
}
