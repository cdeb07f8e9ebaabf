package dhcp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/dhcp"
)

func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, generous)
		defer w.client.Close()
		w.mustAcquire()
		kinds, all := w.taken()
		if !slices.Equal(kinds, []string{"DISCOVER", "REQUEST"}) {
			t.Fatalf("%v were sent", kinds)
		}
		for _, s := range all {
			if s.to != network.Broadcast || !s.src.IsUnspecified() || s.dst.String() != "255.255.255.255" || !s.IsBroadcast() || s.HostName() != "web" {
				t.Errorf("sent from %v to %v, %v: %v", s.src, s.dst, s.to, s)
			}
		}
		if r := all[1]; !r.RequestedIPAddress().Equal(address.Addr().AsSlice()) || !r.ServerIdentifier().Equal(server.AsSlice()) || r.TransactionID != all[0].TransactionID {
			t.Errorf("the request is %v", r)
		}
		var taken *dhcp.Error
		if _, err := w.acquire(time.Hour); !errors.Is(err, dhcp.KindTaken) || !errors.As(err, &taken) || taken.MAC != mac {
			t.Errorf("a second lease: %v", err)
		}
	})
}

// Messages that nobody answers are repeated at times of RFC 2131, and the search begins
// again.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		discovers := 0
		w := newWorld(t, func(s sent) []*dhcpv4.DHCPv4 {
			if s.MessageType() == dhcpv4.MessageTypeDiscover {
				if discovers++; discovers > 6 {
					return []*dhcpv4.DHCPv4{reply(s, dhcpv4.MessageTypeOffer)}
				}
			}
			return nil
		})
		defer w.client.Close()
		_, err := w.acquire(6 * time.Minute)
		if !errors.Is(err, dhcp.KindSilent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		kinds, all := w.taken()
		want := []string{"DISCOVER", "DISCOVER", "DISCOVER", "DISCOVER", "DISCOVER", "DISCOVER", "DISCOVER",
			"REQUEST", "REQUEST", "REQUEST", "REQUEST", "DISCOVER", "REQUEST"}
		if len(kinds) < len(want) || !slices.Equal(kinds[:len(want)], want) {
			t.Fatalf("%v were sent", kinds)
		}
		for i, seconds := range []time.Duration{4, 8, 16, 32, 64, 64, 0, 4, 8, 16, 32, 0} {
			pause := all[i+1].at - all[i].at
			if low, high := max(seconds*time.Second-time.Second, 0), seconds*time.Second+time.Second; pause < low || pause > high {
				t.Errorf("after message %d a pause of %v, want %ds", i, pause, seconds)
			}
			if i < 6 && (all[i+1].TransactionID != all[i].TransactionID || all[i+1].NumSeconds != uint16(all[i+1].at/time.Second)) {
				t.Errorf("message %d: %v", i, all[i+1])
			}
		}
		if _, err := w.acquire(time.Second); !errors.Is(err, dhcp.KindSilent) { // the port has been forgotten
			t.Errorf("error %v", err)
		}
	})
}

func TestReleaseAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, generous)
		w.mustAcquire()
		w.taken()
		w.client.Release(mac)
		w.client.Release(mac) // of what is not there
		kinds, all := w.taken()
		if !slices.Equal(kinds, []string{"RELEASE"}) || all[0].to != serverMAC || !all[0].ClientIPAddr.Equal(address.Addr().AsSlice()) || !all[0].ServerIdentifier().Equal(server.AsSlice()) {
			t.Errorf("released by %v", all)
		}
		pass(24 * time.Hour)
		w.mustAcquire()
		w.taken()
		w.client.Close()
		pass(24 * time.Hour)
		lost, _ := w.ends()
		if kinds, _ := w.taken(); kinds != nil || lost != nil {
			t.Errorf("after the end %v were sent, %v lost", kinds, lost)
		}
		if _, err := w.acquire(time.Hour); !errors.Is(err, dhcp.KindClosed) {
			t.Errorf("error %v", err)
		}
	})
	for name, end := range map[string]func(c *dhcp.Client){"release": func(c *dhcp.Client) { c.Release(mac) }, "close": func(c *dhcp.Client) { c.Close() }} {
		t.Run(name+" while acquiring", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(sent) []*dhcpv4.DHCPv4 { return nil })
				defer w.client.Close()
				time.AfterFunc(time.Minute, func() { end(w.client) })
				if _, err := w.acquire(time.Hour); !errors.Is(err, dhcp.KindClosed) || time.Since(w.begun) != time.Minute {
					t.Errorf("error %v after %v", err, time.Since(w.begun))
				}
			})
		})
	}
}

// Answers that are not ones, or offer what no host can use, are as good as none.
func TestUselessAnswers(t *testing.T) {
	for name, change := range map[string]dhcpv4.Modifier{
		"another transaction": dhcpv4.WithTransactionID(dhcpv4.TransactionID{}),
		"no server":           dhcpv4.WithoutOption(dhcpv4.OptionServerIdentifier),
		"server is anybody":   dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4bcast)),
		"no address":          dhcpv4.WithYourIP(net.IPv4zero),
		"loopback":            dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)),
		"multicast":           dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1)),
		"the subnet's":        dhcpv4.WithYourIP(net.IPv4(10, 5, 0, 0)),
		"the broadcast":       dhcpv4.WithYourIP(net.IPv4(10, 5, 0, 255)),
		"holes in the mask":   dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0)),
		"empty mask":          dhcpv4.WithNetmask(net.IPv4Mask(0, 0, 0, 0)),
		"no time":             dhcpv4.WithoutOption(dhcpv4.OptionIPAddressLeaseTime),
		"hardly any time":     dhcpv4.WithLeaseTime(9),
		"another type":        dhcpv4.WithMessageType(dhcpv4.MessageTypeInform),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(s sent) []*dhcpv4.DHCPv4 {
					good := generous(s)
					if len(good) == 0 {
						return nil
					}
					bad := *good[0]
					bad.Options = dhcpv4.Options{}
					for code, value := range good[0].Options {
						bad.Options[code] = value
					}
					change(&bad)
					return []*dhcpv4.DHCPv4{&bad}
				})
				defer w.client.Close()
				if got, err := w.acquire(5 * time.Minute); !errors.Is(err, dhcp.KindSilent) {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		})
	}
}

// A refused request makes the search begin again, but not without a pause.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusals := 0
		w := newWorld(t, func(s sent) []*dhcpv4.DHCPv4 {
			if s.MessageType() == dhcpv4.MessageTypeRequest && refusals < 3 {
				refusals++
				return []*dhcpv4.DHCPv4{reply(s, dhcpv4.MessageTypeNak)}
			}
			return generous(s)
		})
		defer w.client.Close()
		w.mustAcquire()
		if d := time.Since(w.begun); d != 3*time.Second {
			t.Errorf("three refusals took %v", d)
		}
		w.client.Release(mac)
		w.answer = func(s sent) []*dhcpv4.DHCPv4 {
			if s.MessageType() == dhcpv4.MessageTypeRequest {
				return []*dhcpv4.DHCPv4{reply(s, dhcpv4.MessageTypeNak, dhcpv4.WithOption(dhcpv4.OptMessage("not here")))}
			}
			return generous(s)
		}
		_, err := w.acquire(time.Minute)
		if !errors.Is(err, dhcp.KindRefused) || !errors.Is(err, context.DeadlineExceeded) || !reflect.DeepEqual(err.(*dhcp.Error).Detail, "not here") {
			t.Errorf("error %v", err)
		}
	})
}

func TestFilterPassesWhatIsNotForIt(t *testing.T) {
	w := newWorld(t, generous)
	defer w.client.Close()
	w.mustAcquire()
	m := reply(sent{DHCPv4: &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, ClientHWAddr: mac[:], Options: dhcpv4.Options{}}}, dhcpv4.MessageTypeAck)
	ours := frameOf(mac, m.ToBytes())
	if !w.client.Filter(slices.Clone(ours)) {
		t.Fatal("an answer passes")
	}
	m.ClientHWAddr = net.HardwareAddr(serverMAC[:])
	others := map[string][]byte{"another client's": frameOf(network.Broadcast, m.ToBytes()), "nothing": nil}
	for at, what := range map[int]string{12: "another protocol", 14: "IPv6", 20: "a fragment", 23: "TCP", 37: "another port", 38: "a long datagram", 42: "a question", 43: "other hardware", 44: "a longer address"} {
		changed := slices.Clone(ours)
		changed[at] ^= 0x17
		others[what] = changed
	}
	for n := range 282 {
		others[fmt.Sprintf("%d bytes", n)] = ours[:n]
	}
	for what, frame := range others {
		if w.client.Filter(frame) {
			t.Errorf("%s is taken", what)
		}
	}
}
