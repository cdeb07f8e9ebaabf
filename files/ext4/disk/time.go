package disk

import "time"

// Time is a time stamp of ext4: seconds since 1970 from -2^31 to 2^34-2^31-1
// (years 1901 to 2446) and nanoseconds. Inodes without extra fields keep only
// the low 32 bits of the seconds.
type Time struct {
	Sec  int64
	Nsec uint32
}

// TimeOf converts t, clamping it to what ext4 can hold.
func TimeOf(t time.Time) Time {
	const lo, hi = -1 << 31, 1<<34 - 1<<31 - 1
	s := t.Unix()
	if s < lo {
		return Time{Sec: lo}
	}
	if s > hi {
		return Time{Sec: hi}
	}
	return Time{Sec: s, Nsec: uint32(t.Nanosecond())}
}

// Time converts t to UTC.
func (t Time) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }

func decodeTime(lo, extra uint32) Time {
	return Time{Sec: int64(int32(lo)) + int64(extra&3)<<32, Nsec: extra >> 2}
}

// encode splits t. The two epoch bits count how often the signed 32-bit
// seconds have wrapped.
func (t Time) encode(wide bool) (lo, extra uint32) {
	lo = uint32(int32(t.Sec))
	if !wide {
		const maxNarrow = 1<<31 - 1
		if t.Sec > maxNarrow {
			lo = maxNarrow
		}
		return lo, 0
	}
	epoch := uint32((t.Sec-int64(int32(t.Sec)))>>32) & 3
	return lo, epoch | t.Nsec<<2
}
