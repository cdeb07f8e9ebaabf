// Package packet is an uplink over an interface of Linux by a packet socket,
// AF_PACKET: frames pass in batches, super-segments and unfinished checksums as
// they are (PACKET_VNET_HDR); where the interface cannot cut or sum, the kernel
// does it.
//
// The host's own stack sees what comes in as well. Give the switch an interface
// without addresses of the host.
package packet

import (
	"encoding/binary"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/vnet"
)

const (
	// queueBytes is the size of each of the kernel's two queues of a socket: some 60
	// super-segments, or a thousand frames of 1500 bytes.
	queueBytes = 4 << 20
	// roomBytes is left before each frame, for a tag that the kernel has taken out.
	roomBytes = network.TagBytes
	macsBytes = 12
	vlanTPID  = 0x8100
	// lostInterval is how many calls of Receive pass between two questions how many
	// frames were lost.
	lostInterval = 1024
)

// Open returns a packet socket on the interface with this index of the caller's
// network namespace, which receives frames for any address while the socket is
// open. Errors are *link.Error.
func Open(index int) (fd int, err error) {
	fd, err = unix.OpenPacket(index, true, queueBytes)
	return fd, link.WrapOpen("packet", "open a packet socket", err)
}

// Link is an interface.
type Link struct {
	name                  string
	mtu                   int
	fd                    int
	in, out               *unix.Batch
	buffers               []byte // of BatchMax frames received
	headersIn, headersOut [link.BatchMax][vnet.Bytes]byte
	calls                 int
	counters              link.Counters
}

// New makes a link of a socket that Open returned, here or in another process, and
// owns the descriptor from now on. name is shown in errors, mtu bounds what is
// sent; it must not exceed that of the interface.
func New(fd int, name string, mtu int) *Link {
	l := &Link{name: name, mtu: mtu, fd: fd, in: unix.NewBatch(link.BatchMax), out: unix.NewBatch(link.BatchMax)}
	l.buffers = make([]byte, link.BatchMax*network.BufferBytes)
	for i := range link.BatchMax {
		l.in.Set(i, l.headersIn[i][:], l.buffer(i)[roomBytes:])
	}
	return l
}

func (l *Link) buffer(i int) []byte {
	return l.buffers[i*network.BufferBytes : (i+1)*network.BufferBytes]
}

// Info describes the interface.
func (l *Link) Info() link.Info {
	return link.Info{Name: l.name, MTU: l.mtu, Checksum: true, GSO: true}
}

// Counters are those of link.Link. Lost is asked for now and then.
func (l *Link) Counters() link.Counters { return l.counters }

// Receive reads frames.
func (l *Link) Receive(frames []link.Frame) (n int, err error) {
	if l.calls++; l.calls%lostInterval == 0 {
		if lost, err := unix.PacketDrops(l.fd); err == nil {
			l.counters.Lost += lost
		}
	}
	for n == 0 && len(frames) > 0 {
		came, err := l.in.Receive(l.fd, min(len(frames), link.BatchMax))
		if err == unix.ErrAgain {
			return 0, nil
		}
		if err != nil {
			return 0, link.Wrap(l.name, "receive", err)
		}
		for i := range came {
			frame, offload, ok := l.received(i)
			if !ok {
				l.counters.Drops[network.DropMalformed]++
				continue
			}
			frames[n] = link.Frame{Head: frame, Offload: offload}
			l.counters.Received++
			l.counters.ReceivedBytes += uint64(len(frame))
			n++
		}
	}
	return n, nil
}

// received is the i-th frame, with its tag in its place.
func (l *Link) received(i int) ([]byte, network.Offload, bool) {
	size, truncated := l.in.Length(i)
	if truncated || size < vnet.Bytes+network.EthernetBytes {
		return nil, network.Offload{}, false
	}
	whole := l.buffer(i)[:roomBytes+size-vnet.Bytes]
	frame := whole[roomBytes:]
	offload, ok := vnet.Decode(&l.headersIn[i], frame)
	aux := l.in.Aux(i)
	if !ok || !aux.Tagged || aux.TPID != vlanTPID {
		return frame, offload, ok && !aux.Tagged
	}
	copy(whole, frame[:macsBytes])
	binary.BigEndian.PutUint16(whole[macsBytes:], vlanTPID)
	binary.BigEndian.PutUint16(whole[macsBytes+2:], aux.Tag)
	if offload.Flags&network.NeedsChecksum != 0 {
		offload.ChecksumStart += network.TagBytes
	}
	if offload.GSO != network.GSONone {
		offload.HeaderBytes += network.TagBytes
	}
	return whole, offload, true
}

// Transmit sends frames.
func (l *Link) Transmit(frames []link.Frame) (n int, err error) {
	frames = frames[:min(len(frames), link.BatchMax)]
	for n < len(frames) {
		run, reason := l.gather(frames[n:])
		sent, err := l.send(frames[n : n+run])
		n += sent
		if err != nil || sent < run {
			return n, err
		}
		if n < len(frames) {
			l.counters.Drops[reason]++
			n++
		}
	}
	return n, nil
}

// gather makes messages of the frames before the first that cannot be sent, and
// says why that cannot.
func (l *Link) gather(frames []link.Frame) (run int, reason network.Drop) {
	for i := range frames {
		f := &frames[i]
		if reason, ok := link.Admit(f, l.mtu); !ok {
			return i, reason
		}
		header := &l.headersOut[i]
		vnet.Encode(header, f.Head, f.Offload)
		l.out.Set(i, header[:], f.Head, f.Rest)
	}
	return len(frames), 0
}

// send sends the messages of frames.
func (l *Link) send(frames []link.Frame) (n int, err error) {
	for n < len(frames) {
		sent, err := l.out.Send(l.fd, n, len(frames))
		for ; sent > 0; sent-- {
			l.counters.Sent++
			l.counters.SentBytes += uint64(frames[n].Len())
			n++
		}
		switch err {
		case nil:
		case unix.ErrAgain, unix.ErrNoBuffers:
			return n, nil
		case unix.ErrInvalid, unix.ErrTooLong:
			l.counters.Drops[network.DropMalformed]++
			n++
		default:
			return n, link.Wrap(l.name, "transmit", err)
		}
	}
	return n, nil
}

// Wakeup is the socket.
func (l *Link) Wakeup() int { return l.fd }

// Close closes the socket.
func (l *Link) Close() error {
	return unix.Close(l.fd)
}

var _ link.Link = (*Link)(nil)
