package disk

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC32C continues the reflected Castagnoli CRC from state, without the initial
// and final complement that other users of the polynomial apply.
func CRC32C(state uint32, p []byte) uint32 { return ^crc32.Update(^state, castagnoli, p) }

// CRC32CUint32 continues state over v in little-endian order.
func CRC32CUint32(state, v uint32) uint32 {
	var b [4]byte
	le.PutUint32(b[:], v)
	return CRC32C(state, b[:])
}

// CRC32CUint64 continues state over v in little-endian order.
func CRC32CUint64(state uint32, v uint64) uint32 {
	var b [8]byte
	le.PutUint64(b[:], v)
	return CRC32C(state, b[:])
}

var crc16Table = makeCRC16Table()

func makeCRC16Table() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xA001
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}

// CRC16 continues the reflected CRC-16 (polynomial 0x8005) that uninit_bg file
// systems use for group descriptors.
func CRC16(state uint16, p []byte) uint16 {
	for _, c := range p {
		state = state>>8 ^ crc16Table[byte(state)^c]
	}
	return state
}

var zeros [4]byte

// InodeSeed is the crc32c state for structures that belong to one inode.
func InodeSeed(seed, ino, generation uint32) uint32 {
	return CRC32CUint32(CRC32CUint32(seed, ino), generation)
}

// BitmapChecksum covers the bytes of a bitmap that describe real objects.
func BitmapChecksum(seed uint32, bitmap []byte, objects uint32) uint32 {
	return CRC32C(seed, bitmap[:min(len(bitmap), int(objects/8))])
}
