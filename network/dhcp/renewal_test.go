package dhcp_test

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/dhcp"
)

// newFickleWorld is one whose generous server says nothing while it is silent.
func newFickleWorld(t *testing.T) (w *world, silent *atomic.Bool) {
	silent = new(atomic.Bool)
	return newWorld(t, func(s sent) []*dhcpv4.DHCPv4 {
		if silent.Load() {
			return nil
		}
		return generous(s)
	}), silent
}

// A lease is renewed by its server at T1, by any at T2, and ends in time.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, silent := newFickleWorld(t)
		defer w.client.Close()
		w.mustAcquire()
		w.taken()
		for range 10 {
			pass(29 * time.Minute)
			if kinds, _ := w.taken(); kinds != nil {
				t.Errorf("before T1 %v were sent", kinds)
			}
			pass(time.Minute)
			kinds, all := w.taken()
			if !slices.Equal(kinds, []string{"REQUEST"}) {
				t.Fatalf("at T1 %v were sent", kinds)
			}
			r := all[0]
			if r.to != serverMAC || r.src != address.Addr() || r.dst != server || !r.ClientIPAddr.Equal(address.Addr().AsSlice()) ||
				r.RequestedIPAddress() != nil || r.ServerIdentifier() != nil || r.IsBroadcast() {
				t.Errorf("the renewal goes from %v to %v, %v: %v", r.src, r.dst, r.to, r)
			}
		}
		silent.Store(true)
		last := time.Since(w.begun)
		pass(52*time.Minute + 29*time.Second)
		_, all := w.taken()
		for i, s := range all {
			if s.to != serverMAC || i > 0 && s.at-all[i-1].at < time.Minute {
				t.Errorf("before T2, message %d of %d goes to %v at %v", i, len(all), s.to, s.at)
			}
		}
		if len(all) < 3 {
			t.Errorf("%d messages between T1 and T2", len(all))
		}
		pass(7*time.Minute + 30*time.Second)
		_, all = w.taken()
		if len(all) < 3 || all[0].at != last+time.Hour/8*7 {
			t.Errorf("%d messages after T2, the first at %v", len(all), all[0].at)
		}
		for _, s := range all {
			if s.to != network.Broadcast || s.dst.String() != "255.255.255.255" || s.src != address.Addr() {
				t.Errorf("after T2 a message goes from %v to %v, %v", s.src, s.dst, s.to)
			}
		}
		if lost, _ := w.ends(); len(lost) != 0 {
			t.Errorf("lost before its end: %v", lost)
		}
		pass(time.Second)
		if lost, changed := w.ends(); len(lost) != 1 || !errors.Is(lost[0], dhcp.KindExpired) || len(changed) != 0 {
			t.Errorf("lost: %v, changed: %v", lost, changed)
		}
		silent.Store(false)
		w.mustAcquire()
	})
}

// A suspension of the machine is part of a lease's time: afterwards any server is asked at
// once, also when the lease has ended, and a while later it has.
func TestSuspension(t *testing.T) {
	for name, c := range map[string]struct {
		away   time.Duration
		silent bool
		left   time.Duration // of the lease, after the suspension; 0: it is renewed
	}{
		"short":                 {away: 20 * time.Minute},
		"longer than the lease": {away: 3 * time.Hour},
		"short, silence":        {20 * time.Minute, true, 30 * time.Minute},
		"longer, silence":       {3 * time.Hour, true, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, silent := newFickleWorld(t)
				defer w.client.Close()
				w.mustAcquire()
				pass(10 * time.Minute)
				w.taken()
				silent.Store(c.silent)
				w.suspended.Add(int64(c.away))
				pass(11 * time.Second)
				_, all := w.taken()
				if len(all) == 0 || all[0].to != network.Broadcast || !all[0].ClientIPAddr.Equal(address.Addr().AsSlice()) {
					t.Fatalf("after a suspension of %v it says %v", c.away, all)
				}
				if !c.silent {
					pass(29 * time.Minute)
					if kinds, _ := w.taken(); kinds != nil {
						t.Errorf("before T1 of the next lease %v were sent", kinds)
					}
				} else {
					pass(c.left - 11*time.Second)
				}
				if lost, _ := w.ends(); (len(lost) == 1) != c.silent {
					t.Errorf("lost: %v", lost)
				}
			})
		})
	}
}

// What a server says at a renewal is what counts.
func TestRenewalChanges(t *testing.T) {
	moved := netip.MustParsePrefix("10.5.0.78/24")
	for name, c := range map[string]struct {
		kind   dhcpv4.MessageType
		change dhcpv4.Modifier
		lost   error
	}{
		"refused": {dhcpv4.MessageTypeNak, dhcpv4.WithOption(dhcpv4.OptMessage("go away")), dhcp.KindRefused},
		"moved":   {dhcpv4.MessageTypeAck, dhcpv4.WithYourIP(moved.Addr().AsSlice()), dhcp.KindMoved},
		"subnet":  {dhcpv4.MessageTypeAck, dhcpv4.WithNetmask(net.CIDRMask(25, 32)), dhcp.KindMoved},
		"gateway": {dhcpv4.MessageTypeAck, dhcpv4.WithRouter(net.IPv4(10, 5, 0, 9)), nil},
		"DNS":     {dhcpv4.MessageTypeAck, dhcpv4.WithDNS(net.IPv4(10, 5, 0, 2)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var renewals atomic.Int32
				w := newWorld(t, func(s sent) []*dhcpv4.DHCPv4 {
					if s.MessageType() == dhcpv4.MessageTypeRequest && !s.ClientIPAddr.IsUnspecified() {
						renewals.Add(1)
						return []*dhcpv4.DHCPv4{reply(s, c.kind, c.change)}
					}
					return generous(s)
				})
				defer w.client.Close()
				w.mustAcquire()
				pass(2 * time.Hour)
				lost, changed := w.ends()
				if c.lost == nil {
					if len(lost) != 0 || len(changed) != 1 || renewals.Load() != 4 || reflect.DeepEqual(changed[0], given) || changed[0].Addresses[0] != address {
						t.Errorf("lost: %v, changed: %v after %d renewals", lost, changed, renewals.Load())
					}
					return
				}
				if len(lost) != 1 || !errors.Is(lost[0], c.lost) || len(changed) != 0 || renewals.Load() != 1 {
					t.Errorf("lost: %v, changed: %v after %d renewals", lost, changed, renewals.Load())
				}
			})
		})
	}
}

// Times that a server leaves out or makes up are replaced by those of RFC 2131, and a
// lease for ever is not renewed.
func TestTimes(t *testing.T) {
	for name, c := range map[string]struct {
		renew, rebind, lease time.Duration
		want                 time.Duration // of the first renewal; 0: none
	}{
		"T1":         {100 * time.Second, 0, time.Hour, 100 * time.Second},
		"zero":       {0, 0, time.Hour, 30 * time.Minute},
		"T1 is late": {2 * time.Hour, 0, time.Hour, 30 * time.Minute},
		"T2 is late": {50 * time.Minute, 2 * time.Hour, time.Hour, 50 * time.Minute},
		"T2 first":   {50 * time.Minute, 10 * time.Minute, time.Hour, 10 * time.Minute},
		"for ever":   {time.Minute, 0, dhcpv4.MaxLeaseTime, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(s sent) []*dhcpv4.DHCPv4 {
					all := generous(s)
					for _, m := range all {
						m.UpdateOption(dhcpv4.OptIPAddressLeaseTime(c.lease))
						m.UpdateOption(dhcpv4.OptRenewTimeValue(c.renew))
						m.UpdateOption(dhcpv4.OptRebindingTimeValue(c.rebind))
					}
					return all
				})
				defer w.client.Close()
				w.mustAcquire()
				w.taken()
				pass(55 * time.Minute)
				_, all := w.taken()
				switch {
				case c.want == 0 && len(all) != 0, c.want != 0 && (len(all) == 0 || all[0].at != c.want):
					t.Errorf("renewals: %v", all)
				}
			})
		})
	}
}
