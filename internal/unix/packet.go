package unix

import (
	"encoding/binary"
	"os"

	sys "golang.org/x/sys/unix"
)

// PacketAux is what a packet socket says of a received frame besides its bytes.
type PacketAux struct {
	Tagged    bool // an 802.1Q tag was taken out of the frame
	Tag, TPID uint16
}

// OpenPacket returns a non-blocking packet socket bound to an interface of the
// caller's network namespace. It receives all frames that come in, none of those
// that leave, and with a virtio_net_hdr before each. With promiscuous, the
// interface receives frames for any address while the socket is open. bufferBytes
// is the size of each of the kernel's two queues. It needs CAP_NET_RAW.
func OpenPacket(index int, promiscuous bool, bufferBytes int) (fd int, err error) {
	fd, err = sys.Socket(sys.AF_PACKET, sys.SOCK_RAW|sys.SOCK_NONBLOCK|sys.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket(AF_PACKET)", err)
	}
	defer func() {
		if err != nil {
			sys.Close(fd)
		}
	}()
	for _, option := range []struct {
		name  string
		level int
		opt   int
		value int
	}{
		{"PACKET_VNET_HDR", sys.SOL_PACKET, sys.PACKET_VNET_HDR, 1},
		{"PACKET_AUXDATA", sys.SOL_PACKET, sys.PACKET_AUXDATA, 1},
		{"PACKET_IGNORE_OUTGOING", sys.SOL_PACKET, sys.PACKET_IGNORE_OUTGOING, 1},
	} {
		if err := sys.SetsockoptInt(fd, option.level, option.opt, option.value); err != nil {
			return -1, os.NewSyscallError("setsockopt("+option.name+")", err)
		}
	}
	// Beyond net.core.rmem_max only with CAP_NET_ADMIN; smaller queues work too.
	for _, opt := range []int{sys.SO_RCVBUFFORCE, sys.SO_RCVBUF, sys.SO_SNDBUFFORCE, sys.SO_SNDBUF} {
		_ = sys.SetsockoptInt(fd, sys.SOL_SOCKET, opt, bufferBytes)
	}
	if promiscuous {
		member := sys.PacketMreq{Ifindex: int32(index), Type: sys.PACKET_MR_PROMISC}
		if err := sys.SetsockoptPacketMreq(fd, sys.SOL_PACKET, sys.PACKET_ADD_MEMBERSHIP, &member); err != nil {
			return -1, os.NewSyscallError("setsockopt(PACKET_ADD_MEMBERSHIP)", err)
		}
	}
	address := sys.SockaddrLinklayer{Protocol: bigEndian16(sys.ETH_P_ALL), Ifindex: index}
	if err := sys.Bind(fd, &address); err != nil {
		return -1, os.NewSyscallError("bind(AF_PACKET)", err)
	}
	return fd, nil
}

// HoldPromiscuous returns a packet socket that receives nothing and keeps the
// interface receiving frames for any address while it is open.
func HoldPromiscuous(index int) (fd int, err error) {
	fd, err = sys.Socket(sys.AF_PACKET, sys.SOCK_RAW|sys.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket(AF_PACKET)", err)
	}
	member := sys.PacketMreq{Ifindex: int32(index), Type: sys.PACKET_MR_PROMISC}
	if err := sys.SetsockoptPacketMreq(fd, sys.SOL_PACKET, sys.PACKET_ADD_MEMBERSHIP, &member); err != nil {
		sys.Close(fd)
		return -1, os.NewSyscallError("setsockopt(PACKET_ADD_MEMBERSHIP)", err)
	}
	return fd, nil
}

// PacketDrops returns how many frames a packet socket has lost since the last call,
// because its queue was full.
func PacketDrops(fd int) (uint64, error) {
	stats, err := sys.GetsockoptTpacketStats(fd, sys.SOL_PACKET, sys.PACKET_STATISTICS)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt(PACKET_STATISTICS)", err)
	}
	return uint64(stats.Drops), nil
}

// SocketError returns and clears the pending error of a socket.
func SocketError(fd int) error {
	errno, err := sys.GetsockoptInt(fd, sys.SOL_SOCKET, sys.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt(SO_ERROR)", err)
	}
	if errno != 0 {
		return sys.Errno(errno)
	}
	return nil
}

// bigEndian16 is v as it lies in memory in network order.
func bigEndian16(v uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)})
}
