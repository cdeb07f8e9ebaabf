package networktest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// testTinyRTT: what makes a stack stall whose estimates of time are too small: much
// data one way in pieces that fit no segment, answers the other way at the same time,
// and single bytes afterwards.
func testTinyRTT(t *testing.T, p Peers) {
	const piece, answer = 16_001, 64
	pieces := 1000
	if testing.Short() {
		pieces = 100
	}
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		a, b, err := connect(p, family, ip)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		defer b.Close()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			buffer := make([]byte, piece)
			for range pieces {
				if _, err := io.ReadFull(b, buffer); err != nil {
					t.Error(err)
					return
				}
				if _, err := b.Write(buffer[:answer]); err != nil {
					t.Error(err)
					return
				}
			}
			_, _ = io.Copy(b, b) // the other end sees a lack
		})
		data := random(1, pieces+piece)
		wg.Go(func() {
			for i := range pieces {
				if _, err := a.Write(data[i : i+piece]); err != nil {
					t.Error(err)
					return
				}
			}
		})
		got := make([]byte, answer)
		for i := range pieces {
			if _, err := io.ReadFull(a, got); err != nil || !bytes.Equal(got, data[i:i+answer]) {
				t.Errorf("answer %d is %x, %v", i, got, err)
				return
			}
		}
		for i := range pieces {
			if _, err := a.Write(data[i : i+1]); err != nil {
				t.Error(err)
				return
			}
			if _, err := io.ReadFull(a, got[:1]); err != nil || got[0] != data[i] {
				t.Errorf("byte %d is %x, %v", i, got[0], err)
				return
			}
		}
		if err := a.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
	})
}

// Exchange sends random bytes over a connection both ways at once, closes each way
// when it is done, and returns an error unless they arrive.
func Exchange(a, b net.Conn, seed uint64, n int) error {
	there, back := random(seed, n), random(seed+1, n)
	failed := make(chan error, 4)
	send := func(c net.Conn, data []byte) {
		_, err := c.Write(data)
		failed <- errors.Join(err, c.(interface{ CloseWrite() error }).CloseWrite())
	}
	receive := func(c net.Conn, want []byte) {
		got, err := io.ReadAll(c)
		if err == nil && !bytes.Equal(got, want) {
			err = errors.New("what has arrived is not what was sent")
		}
		failed <- err
	}
	go send(a, there)
	go send(b, back)
	go receive(b, there)
	go receive(a, back)
	return errors.Join(<-failed, <-failed, <-failed, <-failed)
}

// Connect returns both ends of a connection from A to the n-th address of B.
func (p Peers) Connect(n int) (a, b net.Conn, err error) {
	ip := p.IPs[n%len(p.IPs)]
	if ip.Is4() {
		return connect(p, "4", ip)
	}
	return connect(p, "6", ip)
}
