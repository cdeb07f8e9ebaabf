package dhcp

import (
	"bytes"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/quintet-os/quintet/network"
)

// FuzzAnswer: whatever a server says, it is taken or passed, and a lease made of it can
// be used.
func FuzzAnswer(f *testing.F) {
	mac := network.MAC{2, 0, 0, 0, 0, 7}
	x := &transaction{}
	request := (&port{mac: mac}).discover(x)
	reply := bytes.Clone(request)
	reply[37], reply[42] = clientPort, opReply
	copy(reply[42+16:], []byte{10, 5, 0, 9})
	for _, options := range []string{
		"\x35\x01\x05\x36\x04\x0a\x05\x00\x01\x01\x04\xff\xff\xff\x00\x33\x04\x00\x00\x0e\x10\x03\x04\x0a\x05\x00\x01\x06\x08\x0a\x05\x00\x02\x00\x00\x00\x00\xff",
		"\x35\x01\x02\x36\x04\x0a\x05\x00\x01\x33\x04\xff\xff\xff\xff\x3a\x04\x00\x00\x00\x01\x3b\x04\x00\x00\x00\x02\xff",
		"\x35\x01\x06\x38\x02no\xff",
	} {
		seed := append(bytes.Clone(reply[:42+bootpBytes]), options...)
		f.Add(append(seed, make([]byte, len(reply)-min(len(reply), len(seed)))...))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		c := New(Config{Send: func([]byte) error { return nil }})
		defer c.Close()
		p, err := c.add(mac, "")
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(frame)
		taken := c.Filter(frame)
		if !bytes.Equal(frame, before) {
			t.Error("the frame has been changed")
		}
		select {
		case a := <-p.inbox:
			if !taken {
				t.Error("a frame is taken and passed")
			}
			now := time.Now()
			b, ok := bind(a.DHCPv4, a.via, now)
			_, _ = a.Message(), a.MessageType()
			if !ok {
				return
			}
			own := b.lease.Addresses[0]
			config := network.PortConfig{MTU: network.MTUDefault, MAC: mac}
			config.Addresses = append(config.Addresses, own.Addr())
			if err := config.Check(); err != nil || len(b.lease.Addresses) != 1 || own.Bits() < 1 || !own.Addr().Is4() || !b.lease.Server.Is4() {
				t.Errorf("%+v: %v", b, err)
			}
			for _, g := range b.lease.Gateways {
				if g == own.Addr() || !own.Contains(g) && !own.IsSingleIP() {
					t.Errorf("gateway %v of %v", g, own)
				}
			}
			if !b.end.IsZero() && (b.renew.Before(now.Add(renewMin)) || b.renew.After(b.rebind) || !b.rebind.Before(b.end)) {
				t.Errorf("renewed after %v, %v, ended after %v", b.renew.Sub(now), b.rebind.Sub(now), b.end.Sub(now))
			}
			// What is sent of it can be read.
			m, err := dhcpv4.FromBytes(p.extend(x, b, true)[42:])
			if err != nil || m.MessageType() != dhcpv4.MessageTypeRequest {
				t.Errorf("%v, %v", m, err)
			}
		default:
		}
	})
}
