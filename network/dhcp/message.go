package dhcp

import (
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/quintet-os/quintet/network"
)

// compose makes a message of the port (RFC 2131, table 5). Servers answer by broadcast
// as long as the port has no address of its own.
func (p *port) compose(x *transaction, kind dhcpv4.MessageType, options ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, TransactionID: x.id,
		ClientHWAddr: net.HardwareAddr(p.mac[:]), NumSeconds: uint16(min(time.Since(x.begun)/time.Second, math.MaxUint16)),
		Options: dhcpv4.OptionsFromList(append(options, dhcpv4.OptMessageType(kind))...)}
	if kind != dhcpv4.MessageTypeRelease {
		m.UpdateOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
			dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue))
		if p.hostname != "" {
			m.UpdateOption(dhcpv4.OptHostName(p.hostname))
		}
	}
	return m
}

func (p *port) broadcast(m *dhcpv4.DHCPv4, from netip.Addr) []byte {
	return encapsulate(route{p.mac, network.Broadcast, from, everybody}, m.ToBytes())
}

// discover asks whether there is a server.
func (p *port) discover(x *transaction) []byte {
	m := p.compose(x, dhcpv4.MessageTypeDiscover)
	m.SetBroadcast()
	return p.broadcast(m, anyAddress)
}

// request takes an offer, and so declines all others.
func (p *port) request(x *transaction, offer *answer) []byte {
	m := p.compose(x, dhcpv4.MessageTypeRequest, dhcpv4.OptRequestedIPAddress(offer.YourIPAddr), dhcpv4.OptServerIdentifier(offer.ServerIdentifier()))
	m.SetBroadcast()
	return p.broadcast(m, anyAddress)
}

// extend asks for more time: the server that gave the lease, by the way its answer came,
// or any.
func (p *port) extend(x *transaction, b binding, anybody bool) []byte {
	m := p.compose(x, dhcpv4.MessageTypeRequest)
	own := b.lease.Addresses[0].Addr()
	m.ClientIPAddr = own.AsSlice()
	if anybody {
		return p.broadcast(m, own)
	}
	return encapsulate(route{p.mac, b.via, own, b.lease.Server}, m.ToBytes())
}

// release gives a lease back; nobody answers.
func (p *port) release(b binding) {
	m := p.compose(p.begin(), dhcpv4.MessageTypeRelease, dhcpv4.OptServerIdentifier(b.lease.Server.AsSlice()))
	own := b.lease.Addresses[0].Addr()
	m.ClientIPAddr = own.AsSlice()
	_ = p.send(encapsulate(route{p.mac, b.via, own, b.lease.Server}, m.ToBytes())) // or it runs out
}
