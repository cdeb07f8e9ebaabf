package networktest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
)

// Stream sends random bytes until stop is closed, then their hash. If it is paced,
// a block waits for the other end to have read the one before.
func Stream(c net.Conn, seed uint64, paced bool, stop <-chan struct{}) (sent uint64, err error) {
	r, sum, block := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}), sha256.New(), make([]byte, 20_000)
	for {
		select {
		case <-stop:
			if err := binary.Write(c, binary.BigEndian, uint32(0)); err != nil {
				return sent, err
			}
			_, err := c.Write(sum.Sum(nil))
			return sent, err
		default:
		}
		_, _ = r.Read(block)
		sum.Write(block)
		if err := binary.Write(c, binary.BigEndian, uint32(len(block))); err != nil {
			return sent, err
		}
		n, err := c.Write(block)
		if sent += uint64(n); err != nil {
			return sent, err
		}
		if !paced {
			continue
		}
		if _, err := io.ReadFull(c, block[:1]); err != nil {
			return sent, err
		}
	}
}

var errHash = errors.New("the hash of what was received is another")

// Verify receives what Stream sends.
func Verify(c net.Conn, paced bool) (received uint64, err error) {
	sum := sha256.New()
	for {
		var n uint32
		if err := binary.Read(c, binary.BigEndian, &n); err != nil {
			return received, err
		}
		if n == 0 {
			break
		}
		got, err := io.CopyN(sum, c, int64(n))
		if received += uint64(got); err != nil {
			return received, err
		}
		if !paced {
			continue
		}
		if _, err := c.Write([]byte{1}); err != nil {
			return received, err
		}
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(c, want); err != nil {
		return received, err
	}
	if string(want) != string(sum.Sum(nil)) {
		return received, errHash
	}
	return received, nil
}
