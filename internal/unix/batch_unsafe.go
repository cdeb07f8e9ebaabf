package unix

import (
	"unsafe"

	sys "golang.org/x/sys/unix"
)

const auxSpace = (sys.SizeofCmsghdr+7)&^7 + (sizeofAux+7)&^7

const sizeofAux = int(unsafe.Sizeof(sys.TpacketAuxdata{}))

// Batch is a set of messages that one system call sends or receives. It belongs
// to one goroutine.
type Batch struct {
	headers []mmsghdr
	vectors [][vectorsMax]sys.Iovec
	control [][auxSpace]byte
}

// mmsghdr is struct mmsghdr of socket.h on 64-bit machines.
type mmsghdr struct {
	header sys.Msghdr
	length uint32
	_      [4]byte
}

// NewBatch returns a batch of so many messages.
func NewBatch(messages int) *Batch {
	return &Batch{headers: make([]mmsghdr, messages), vectors: make([][vectorsMax]sys.Iovec, messages), control: make([][auxSpace]byte, messages)}
}

// Set makes the pieces the i-th message. They must stay where they are until the
// batch has been sent, or received into.
func (b *Batch) Set(i int, pieces ...[]byte) {
	h := &b.headers[i].header
	h.Iov = &b.vectors[i][0]
	h.SetIovlen(setVectors(&b.vectors[i], pieces))
}

// Send sends the messages from first to before end on a non-blocking socket, and
// returns how many went. The error, a bare error number, is that of the first that
// did not, if none did.
func (b *Batch) Send(fd, first, end int) (int, error) {
	for i := first; i < end; i++ {
		b.headers[i].header.Control, b.headers[i].header.Controllen = nil, 0
	}
	return b.call(sys.SYS_SENDMMSG, fd, first, end)
}

// Receive receives up to n messages into those set, and returns how many came.
// Length and Aux describe them. The error is a bare error number.
func (b *Batch) Receive(fd, n int) (int, error) {
	for i := range n {
		h := &b.headers[i].header
		h.Control = &b.control[i][0]
		h.SetControllen(auxSpace)
	}
	return b.call(sys.SYS_RECVMMSG, fd, 0, n)
}

func (b *Batch) call(number uintptr, fd, first, end int) (int, error) {
	if first == end {
		return 0, nil
	}
	for {
		n, _, errno := sys.Syscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[first])), uintptr(end-first), sys.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case sys.EINTR:
			continue
		}
		return 0, errno
	}
}

// Length of the i-th message received, and whether it was longer than its pieces.
func (b *Batch) Length(i int) (n int, truncated bool) {
	return int(b.headers[i].length), b.headers[i].header.Flags&sys.MSG_TRUNC != 0
}

// Aux is what a packet socket says of the i-th message received.
func (b *Batch) Aux(i int) PacketAux {
	h := &b.headers[i].header
	if int(h.Controllen) < sys.SizeofCmsghdr+sizeofAux {
		return PacketAux{}
	}
	cmsg := (*sys.Cmsghdr)(unsafe.Pointer(&b.control[i][0]))
	if cmsg.Level != sys.SOL_PACKET || cmsg.Type != sys.PACKET_AUXDATA {
		return PacketAux{}
	}
	aux := (*sys.TpacketAuxdata)(unsafe.Pointer(&b.control[i][sys.SizeofCmsghdr]))
	if aux.Status&sys.TP_STATUS_VLAN_VALID == 0 {
		return PacketAux{}
	}
	tpid := uint16(sys.ETH_P_8021Q)
	if aux.Status&sys.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = aux.Vlan_tpid
	}
	return PacketAux{Tagged: true, Tag: aux.Vlan_tci, TPID: tpid}
}
