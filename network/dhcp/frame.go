package dhcp

import (
	"encoding/binary"
	"net/netip"

	"github.com/quintet-os/quintet/network"
)

// Places in a frame: an Ethernet header without a tag, IPv4 (RFC 791), UDP (RFC 768) and
// BOOTP (RFC 951).
const (
	etherTypeIPv4 = 0x0800
	ipBytesMin    = 20
	udpBytes      = 8
	protocolUDP   = 17
	ttl           = 64
	serverPort    = 67
	clientPort    = 68

	opReply      = 2
	ethernetType = 1 // of hardware
	chaddrAt     = 28
	bootpBytes   = 240 // with the cookie that makes it DHCP
)

// route is from whom to whom a message goes.
type route struct {
	fromMAC, toMAC network.MAC
	from, to       netip.Addr
}

// encapsulate puts a message of a client into a frame.
func encapsulate(r route, message []byte) []byte {
	f := make([]byte, 0, network.EthernetBytes+ipBytesMin+udpBytes+len(message))
	f = append(f, r.toMAC[:]...)
	f = append(f, r.fromMAC[:]...)
	f = binary.BigEndian.AppendUint16(f, etherTypeIPv4)

	f = append(f, 4<<4|ipBytesMin/4, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(ipBytesMin+udpBytes+len(message)))
	f = append(f, 0, 0, 0, 0, ttl, protocolUDP, 0, 0)
	f = append(append(f, r.from.AsSlice()...), r.to.AsSlice()...)
	ip := f[network.EthernetBytes:]
	binary.BigEndian.PutUint16(ip[10:], checksum(network.Sum(0, ip)))

	udp := len(f)
	f = binary.BigEndian.AppendUint16(f, clientPort)
	f = binary.BigEndian.AppendUint16(f, serverPort)
	f = binary.BigEndian.AppendUint16(f, uint16(udpBytes+len(message)))
	f = append(append(f, 0, 0), message...)
	pseudo := network.Sum(uint64(protocolUDP+udpBytes+len(message)), ip[12:20])
	sum := checksum(network.Sum(pseudo, f[udp:]))
	if sum == 0 { // which would stand for none
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(f[udp+6:], sum)
	return f
}

func checksum(sum uint64) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// message returns the DHCP message of a server in a frame, and the client that it is
// for; false if the frame holds none. Checksums are not looked at: they may be
// unfinished, and the link has its own.
func message(frame []byte) (data []byte, client, server network.MAC, ok bool) {
	if len(frame) < network.EthernetBytes+ipBytesMin+udpBytes+bootpBytes || binary.BigEndian.Uint16(frame[12:]) != etherTypeIPv4 {
		return nil, client, server, false
	}
	ip := frame[network.EthernetBytes:]
	header, total := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 // any but the only one
	if ip[0]>>4 != 4 || header < ipBytesMin || total > len(ip) || total < header+udpBytes+bootpBytes || fragment || ip[9] != protocolUDP {
		return nil, client, server, false
	}
	udp := ip[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != clientPort || length > len(udp) || length < udpBytes+bootpBytes {
		return nil, client, server, false
	}
	data = udp[udpBytes:length]
	if data[0] != opReply || data[1] != ethernetType || int(data[2]) != len(client) {
		return nil, client, server, false
	}
	copy(client[:], data[chaddrAt:])
	copy(server[:], frame[6:])
	return data, client, server, true
}
