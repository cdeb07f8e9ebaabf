// Package xsk is AF_XDP sockets: four rings shared with the kernel that pass frames
// of a memory, the UMEM, back and forth (linux/if_xdp.h, Documentation/networking/
// af_xdp.rst).
//
// Open makes a socket, Map maps its rings; that can be done again, in another process
// that was handed the descriptor, and finds the rings as they were left. A Socket
// belongs to one goroutine. The kernel is trusted.
package xsk

import (
	"fmt"
	"os"

	sys "golang.org/x/sys/unix"
)

// Flags of Open.
const (
	FlagCopy       = sys.XDP_COPY
	FlagZeroCopy   = sys.XDP_ZEROCOPY
	FlagNeedWakeup = sys.XDP_USE_NEED_WAKEUP
	FlagPieces     = sys.XDP_USE_SG // frames may have several descriptors
)

// Continued marks a descriptor that is not the last of its frame.
const Continued = sys.XDP_PKT_CONTD

// Desc is a piece of a frame: where it lies in the UMEM, and how long it is.
type Desc = sys.XDPDesc

// Open returns a socket for one queue of an interface of the caller's network
// namespace. umem is divided into chunks of chunkBytes; it may be unmapped
// afterwards. All four rings have the same number of entries, a power of two. It
// needs CAP_NET_RAW.
func Open(index, queue int, umem []byte, chunkBytes, entries int, flags uint16) (fd int, err error) {
	fd, err = sys.Socket(sys.AF_XDP, sys.SOCK_RAW|sys.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket(AF_XDP)", err)
	}
	defer func() {
		if err != nil {
			sys.Close(fd)
		}
	}()
	if err := registerUMEM(fd, umem, chunkBytes); err != nil {
		return -1, os.NewSyscallError("setsockopt(XDP_UMEM_REG)", err)
	}
	for _, option := range []int{sys.XDP_UMEM_FILL_RING, sys.XDP_UMEM_COMPLETION_RING, sys.XDP_RX_RING, sys.XDP_TX_RING} {
		if err := sys.SetsockoptInt(fd, sys.SOL_XDP, option, entries); err != nil {
			return -1, os.NewSyscallError(fmt.Sprintf("setsockopt(XDP ring %d)", option), err)
		}
	}
	address := sys.SockaddrXDP{Flags: flags, Ifindex: uint32(index), QueueID: uint32(queue)}
	if err := sys.Bind(fd, &address); err != nil {
		return -1, os.NewSyscallError("bind(AF_XDP)", err)
	}
	return fd, nil
}

// Socket is a socket with its rings.
type Socket struct {
	fd                               int
	fill, completion, receive, trans ring
	zeroCopy                         bool
}

// Map maps the rings of a socket that Open returned, all with so many entries. The
// descriptor stays the caller's.
func Map(fd, entries int) (*Socket, error) {
	offsets, zeroCopy, err := describe(fd)
	if err != nil {
		return nil, err
	}
	s := &Socket{fd: fd, zeroCopy: zeroCopy}
	for _, r := range []struct {
		ring    *ring
		page    int64
		offsets sys.XDPRingOffset
		size    int
	}{
		{&s.fill, sys.XDP_UMEM_PGOFF_FILL_RING, offsets.Fr, sizeofAddress},
		{&s.completion, sys.XDP_UMEM_PGOFF_COMPLETION_RING, offsets.Cr, sizeofAddress},
		{&s.receive, sys.XDP_PGOFF_RX_RING, offsets.Rx, sizeofDesc},
		{&s.trans, sys.XDP_PGOFF_TX_RING, offsets.Tx, sizeofDesc},
	} {
		mem, err := sys.Mmap(fd, r.page, int(r.offsets.Desc)+entries*r.size, sys.PROT_READ|sys.PROT_WRITE, sys.MAP_SHARED|sys.MAP_POPULATE)
		if err != nil {
			s.Unmap()
			return nil, os.NewSyscallError("mmap(XDP ring)", err)
		}
		r.ring.attach(mem, r.offsets, entries)
	}
	return s, nil
}

// Unmap unmaps the rings. While they are mapped the queue stays taken, even if the
// descriptor has been closed.
func (s *Socket) Unmap() error {
	var first error
	for _, r := range []*ring{&s.fill, &s.completion, &s.receive, &s.trans} {
		if r.mem != nil {
			if err := sys.Munmap(r.mem); err != nil && first == nil {
				first = os.NewSyscallError("munmap(XDP ring)", err)
			}
			r.mem = nil
		}
	}
	return first
}

// ZeroCopy tells whether the driver reads and writes the UMEM itself.
func (s *Socket) ZeroCopy() bool { return s.zeroCopy }

// Pending calls f with the chunks that the kernel has been given and has not yet
// taken, or has returned and nobody has taken yet, of both directions.
func (s *Socket) Pending(filled, sent func(addr uint64)) {
	s.fill.addresses(filled)
	s.receive.pieces(func(d Desc) { filled(d.Addr) })
	s.trans.pieces(func(d Desc) { sent(d.Addr) })
	s.completion.addresses(sent)
}

// Fill gives the kernel a chunk to receive into; false when the ring is full.
// FillPublish shows all of them.
func (s *Socket) Fill(addr uint64) bool { return s.fill.pushAddress(addr) }

// FillPublish shows the kernel what Fill has given.
func (s *Socket) FillPublish() { s.fill.publish() }

// Next takes the next piece of a frame received.
func (s *Socket) Next() (Desc, bool) { return s.receive.pop() }

// NextRelease returns the places in the ring of what Next has taken.
func (s *Socket) NextRelease() { s.receive.release() }

// Free is how many pieces can be sent.
func (s *Socket) Free() int { return s.trans.free() }

// Send queues a piece, for which there must be room. SendPublish shows all of them.
func (s *Socket) Send(d Desc) { s.trans.push(d) }

// SendPublish shows the kernel what Send has queued.
func (s *Socket) SendPublish() { s.trans.publish() }

// Unsent is how many pieces the kernel has not yet taken.
func (s *Socket) Unsent() int { return s.trans.waiting() }

// Completed takes the next chunk that has been sent.
func (s *Socket) Completed() (addr uint64, ok bool) { return s.completion.popAddress() }

// CompletedRelease returns the places in the ring of what Completed has taken.
func (s *Socket) CompletedRelease() { s.completion.release() }

// SendAsleep tells whether the kernel must be kicked to send, and ReceiveAsleep
// whether to receive.
func (s *Socket) SendAsleep() bool { return s.trans.asleep() }

// ReceiveAsleep tells whether the kernel must be kicked to receive.
func (s *Socket) ReceiveAsleep() bool { return s.fill.asleep() }

// KickSend has the kernel send, without blocking. The error is a bare error number.
func (s *Socket) KickSend() error { return kick(sys.SYS_SENDTO, s.fd) }

// KickReceive has the kernel receive, without blocking. The error is a bare error
// number.
func (s *Socket) KickReceive() error { return kick(sys.SYS_RECVFROM, s.fd) }
