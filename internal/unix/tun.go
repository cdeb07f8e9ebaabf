package unix

import (
	"fmt"
	"os"

	sys "golang.org/x/sys/unix"
)

// VnetHeaderBytes is the size of the header before each frame of a TAP or packet
// socket with offloads: struct virtio_net_hdr of linux/virtio_net.h.
const VnetHeaderBytes = 10

// Fields of that header, in the byte order of the machine.
const (
	VnetNeedsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

	VnetGSONone = 0
	VnetGSOTCP4 = 1
	VnetGSOTCP6 = 4
	VnetGSOUDP  = 5    // VIRTIO_NET_HDR_GSO_UDP_L4
	VnetGSOECN  = 0x80 // or-ed to a TCP type: the first segment alone has CWR
)

const tapFlags = sys.IFF_TAP | sys.IFF_NO_PI | sys.IFF_VNET_HDR

// OpenTAP returns the descriptors of so many queues, non-blocking and
// close-on-exec, of the TAP interface of that name in the caller's network
// namespace, which it creates if there is none. It needs CAP_NET_ADMIN over the
// namespace, unless the interface is persistent and the caller's.
func OpenTAP(name string, queues int) (fds []int, err error) {
	defer func() {
		if err != nil {
			for _, fd := range fds {
				sys.Close(fd)
			}
		}
	}()
	for range queues {
		fd, err := sys.Open("/dev/net/tun", sys.O_RDWR|sys.O_NONBLOCK|sys.O_CLOEXEC, 0)
		if err != nil {
			return fds, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
		}
		fds = append(fds, fd)
		request, err := sys.NewIfreq(name)
		if err != nil {
			return fds, fmt.Errorf("interface name %q: %w", name, err)
		}
		flags := uint16(tapFlags)
		if queues > 1 {
			flags |= sys.IFF_MULTI_QUEUE
		}
		request.SetUint16(flags)
		if err := sys.IoctlIfreq(fd, sys.TUNSETIFF, request); err != nil {
			return fds, os.NewSyscallError("ioctl(TUNSETIFF)", err)
		}
	}
	return fds, nil
}

// PrepareTAP checks that fd is a TAP opened like OpenTAP does, and has the
// interface hand over super-segments and unfinished checksums of TCP over IPv4
// and IPv6. It returns the name of the interface.
func PrepareTAP(fd int) (name string, err error) {
	request, err := sys.NewIfreq("")
	if err != nil {
		return "", err
	}
	if err := sys.IoctlIfreq(fd, sys.TUNGETIFF, request); err != nil {
		return "", os.NewSyscallError("ioctl(TUNGETIFF)", err)
	}
	if flags := request.Uint16(); flags&(sys.IFF_TUN|tapFlags) != tapFlags {
		return "", fmt.Errorf("interface %s has flags %#x; need IFF_TAP, IFF_NO_PI and IFF_VNET_HDR: %w", request.Name(), flags, sys.EINVAL)
	}
	if err := sys.IoctlSetPointerInt(fd, sys.TUNSETVNETHDRSZ, VnetHeaderBytes); err != nil {
		return "", os.NewSyscallError("ioctl(TUNSETVNETHDRSZ)", err)
	}
	offloads := sys.TUN_F_CSUM | sys.TUN_F_TSO4 | sys.TUN_F_TSO6 | sys.TUN_F_TSO_ECN
	if err := sys.IoctlSetInt(fd, sys.TUNSETOFFLOAD, offloads); err != nil {
		return "", os.NewSyscallError("ioctl(TUNSETOFFLOAD)", err)
	}
	return request.Name(), nil
}

// PersistTAP says whether the interface of fd outlives its descriptors.
func PersistTAP(fd int, persist bool) error {
	on := 0
	if persist {
		on = 1
	}
	return os.NewSyscallError("ioctl(TUNSETPERSIST)", sys.IoctlSetInt(fd, sys.TUNSETPERSIST, on))
}
