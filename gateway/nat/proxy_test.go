package nat_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/quintet-os/quintet/gateway/nat"
	"github.com/quintet-os/quintet/network/networktest"
)

// A published port may tell the guest where its connections come from, before anything
// else: in the words of the protocol's specification.
func TestProxyHeader(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		s := start(t, func(c *nat.Config) {
			c.Publish = []nat.Publish{{Network: "tcp", To: netip.AddrPortFrom(networktest.Host(2).Addresses[0], 80).String(), Listener: l, Proxy: true}}
		})
		web, err := s.guest.Listen("tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		defer web.Close()
		outside, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer outside.Close()
		if _, err := outside.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		inside, err := web.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer inside.Close()
		inside.SetDeadline(time.Now().Add(patience))
		from, to := outside.LocalAddr().(*net.TCPAddr).AddrPort(), outside.RemoteAddr().(*net.TCPAddr).AddrPort()
		want := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21)
		if from.Addr().Is4() {
			want = append(want, 0x11, 0, 12)
		} else {
			want = append(want, 0x21, 0, 36)
		}
		want = append(append(want, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
		want = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(want, from.Port()), to.Port())
		want = append(want, "hello"...)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(inside, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v\nwant %x", host, got, err, want)
		}
	}
}
