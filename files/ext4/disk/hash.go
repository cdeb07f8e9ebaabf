package disk

import "math/bits"

// Directory hash versions. The unsigned ones differ in how name bytes above
// 127 enter the hash, after the signedness of char on the host that made them.
const (
	HashLegacy          = 0
	HashHalfMD4         = 1
	HashTEA             = 2
	HashLegacyUnsigned  = 3
	HashHalfMD4Unsigned = 4
	HashTEAUnsigned     = 5
	HashSip             = 6
)

// NameHash returns the hash under which name stands in an htree. Bit 0 of the
// major hash is always clear: the index uses it to mark a hash value that
// continues from the block before. It fails for a version it does not know.
func NameHash(version uint8, seed [4]uint32, name []byte) (major, minor uint32, err error) {
	buf := [4]uint32{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476}
	if seed != [4]uint32{} {
		buf = seed
	}
	signed := version < HashLegacyUnsigned
	switch version {
	case HashLegacy, HashLegacyUnsigned:
		major = legacyHash(name, signed)
	case HashHalfMD4, HashHalfMD4Unsigned:
		var in [8]uint32
		for p := name; len(p) > 0; p = p[min(len(p), 32):] {
			packName(p, in[:], signed)
			halfMD4(&buf, &in)
		}
		major, minor = buf[1], buf[2]
	case HashTEA, HashTEAUnsigned:
		var in [4]uint32
		for p := name; len(p) > 0; p = p[min(len(p), 16):] {
			packName(p, in[:], signed)
			tea(&buf, &in)
		}
		major, minor = buf[0], buf[1]
	default:
		return 0, 0, Corrupt("directory index", "hash version %d is unknown", version)
	}
	major &^= 1
	const endOfDirectory = 0x7FFFFFFF << 1
	if major == endOfDirectory {
		major = (0x7FFFFFFF - 1) << 1
	}
	return major, minor, nil
}

func char(c byte, signed bool) uint32 {
	if signed {
		return uint32(int32(int8(c)))
	}
	return uint32(c)
}

func legacyHash(name []byte, signed bool) uint32 {
	h0, h1 := uint32(0x12A3FE2D), uint32(0x37ABE8F9)
	for _, c := range name {
		h := h1 + (h0 ^ char(c, signed)*7152373)
		if h&0x80000000 != 0 {
			h -= 0x7FFFFFFF
		}
		h1, h0 = h0, h
	}
	return h0 << 1
}

// packName spreads the start of name over out, padding with its length.
func packName(name []byte, out []uint32, signed bool) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	n := min(len(name), len(out)*4)
	val, o := pad, 0
	for i := range n {
		val = char(name[i], signed) + val<<8
		if i%4 == 3 {
			out[o] = val
			o++
			val = pad
		}
	}
	for first := true; o < len(out); o, first = o+1, false {
		out[o] = pad
		if first {
			out[o] = val
		}
	}
}

func halfMD4(buf *[4]uint32, in *[8]uint32) {
	const k2, k3 = 0x5A827999, 0x6ED9EBA1
	f := func(x, y, z uint32) uint32 { return z ^ x&(y^z) }
	g := func(x, y, z uint32) uint32 { return x&y + (x^y)&z }
	h := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	a, b, c, d := buf[0], buf[1], buf[2], buf[3]
	for i := 0; i < 8; i += 4 {
		a = bits.RotateLeft32(a+f(b, c, d)+in[i], 3)
		d = bits.RotateLeft32(d+f(a, b, c)+in[i+1], 7)
		c = bits.RotateLeft32(c+f(d, a, b)+in[i+2], 11)
		b = bits.RotateLeft32(b+f(c, d, a)+in[i+3], 19)
	}
	for _, i := range [2]int{1, 0} {
		a = bits.RotateLeft32(a+g(b, c, d)+in[i]+k2, 3)
		d = bits.RotateLeft32(d+g(a, b, c)+in[i+2]+k2, 5)
		c = bits.RotateLeft32(c+g(d, a, b)+in[i+4]+k2, 9)
		b = bits.RotateLeft32(b+g(c, d, a)+in[i+6]+k2, 13)
	}
	for _, i := range [2]int{3, 1} {
		a = bits.RotateLeft32(a+h(b, c, d)+in[i]+k3, 3)
		d = bits.RotateLeft32(d+h(a, b, c)+in[i+4]+k3, 9)
		c = bits.RotateLeft32(c+h(d, a, b)+in[i-1]+k3, 11)
		b = bits.RotateLeft32(b+h(c, d, a)+in[i+3]+k3, 15)
	}
	buf[0] += a
	buf[1] += b
	buf[2] += c
	buf[3] += d
}

func tea(buf *[4]uint32, in *[4]uint32) {
	const delta = 0x9E3779B9
	b0, b1, sum := buf[0], buf[1], uint32(0)
	for range 16 {
		sum += delta
		b0 += (b1<<4 + in[0]) ^ (b1 + sum) ^ (b1>>5 + in[1])
		b1 += (b0<<4 + in[2]) ^ (b0 + sum) ^ (b0>>5 + in[3])
	}
	buf[0] += b0
	buf[1] += b1
}
