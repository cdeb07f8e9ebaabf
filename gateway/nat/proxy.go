package nat

import (
	"encoding/binary"
	"net"
)

// The PROXY protocol, version 2 (HAProxy, "The PROXY protocol", 2.2): a signature, version
// and command, family and transport, the length of the addresses, and these.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyCommand   = 0x21 // version 2, a connection on behalf of somebody
	proxyTCP4      = 0x11
	proxyTCP6      = 0x21
	proxyUnknown   = 0x00
)

// proxyHeader says that a connection comes from one address to another. Ends that are not
// of TCP, or of two families, are not told.
func proxyHeader(from, to net.Addr) []byte {
	header := append([]byte(proxySignature), proxyCommand)
	source, ok1 := from.(*net.TCPAddr)
	destination, ok2 := to.(*net.TCPAddr)
	if !ok1 || !ok2 {
		return append(header, proxyUnknown, 0, 0)
	}
	a, b := source.AddrPort(), destination.AddrPort()
	family, addresses := byte(proxyTCP6), []byte(nil)
	switch {
	case a.Addr().Unmap().Is4() && b.Addr().Unmap().Is4():
		family = proxyTCP4
		addresses = append(append(addresses, a.Addr().Unmap().AsSlice()...), b.Addr().Unmap().AsSlice()...)
	case a.Addr().Is6() && b.Addr().Is6():
		addresses = append(append(addresses, a.Addr().AsSlice()...), b.Addr().AsSlice()...)
	default:
		return append(header, proxyUnknown, 0, 0)
	}
	addresses = binary.BigEndian.AppendUint16(addresses, a.Port())
	addresses = binary.BigEndian.AppendUint16(addresses, b.Port())
	header = append(header, family)
	return append(binary.BigEndian.AppendUint16(header, uint16(len(addresses))), addresses...)
}
