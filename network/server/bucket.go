package server

import "time"

// bucket is a token bucket, full at first. Its tokens are bytes or frames.
type bucket struct {
	rate, burst int64 // a second, and at once; rate 0: no limit
	tokens      int64
	at          time.Duration
}

func newBucket(rate, burst int64) bucket { return bucket{rate: rate, burst: burst, tokens: burst} }

// ready tells whether n tokens are there, or returns when they will be.
func (b *bucket) ready(now time.Duration, n int64) (until time.Duration, ok bool) {
	if b.rate == 0 {
		return 0, true
	}
	// Time beyond a full bucket is cut first, so that nothing overflows.
	full := time.Duration(float64(b.burst) / float64(b.rate) * float64(time.Second))
	passed := min(now-b.at, full+time.Second)
	if gained := int64(float64(b.rate) * passed.Seconds()); gained > 0 || b.tokens >= b.burst {
		b.tokens = min(b.tokens+gained, b.burst)
		b.at = now
	}
	if b.tokens < n {
		wait := time.Duration(float64(n-b.tokens)/float64(b.rate)*float64(time.Second)) + 1
		return now + wait, false
	}
	return 0, true
}

// pay takes n tokens, which are there.
func (b *bucket) pay(n int64) {
	if b.rate != 0 {
		b.tokens -= n
	}
}
