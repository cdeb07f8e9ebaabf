package unix

import (
	"net/netip"
	"os"

	sys "golang.org/x/sys/unix"
)

// OpenPing returns a socket for ICMP echo, of IPv6 or IPv4, non-blocking and
// close-on-exec. It needs no privilege where net.ipv4.ping_group_range allows the
// caller's group; the kernel chooses the identifier of requests, and hands replies to
// them only.
func OpenPing(ipv6 bool) (*os.File, error) {
	family, protocol := sys.AF_INET, sys.IPPROTO_ICMP
	if ipv6 {
		family, protocol = sys.AF_INET6, sys.IPPROTO_ICMPV6
	}
	fd, err := sys.Socket(family, sys.SOCK_DGRAM|sys.SOCK_NONBLOCK|sys.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket(ICMP echo)", err)
	}
	return os.NewFile(uintptr(fd), "ping"), nil
}

// Connect gives a datagram socket its peer.
func Connect(fd int, to netip.Addr) error {
	var address sys.Sockaddr = &sys.SockaddrInet6{Addr: to.As16()}
	if to.Is4() {
		address = &sys.SockaddrInet4{Addr: to.As4()}
	}
	return os.NewSyscallError("connect", sys.Connect(fd, address))
}
