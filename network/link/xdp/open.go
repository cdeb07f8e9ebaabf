package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	attach "github.com/cilium/ebpf/link"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/xsk"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
)

const (
	// QueuesMax bounds the queues of one link.
	QueuesMax = 16
	// chunksMax is the number of chunks of a queue in each direction, and of entries
	// of each of its rings. It must exceed the pieces of any super-segment: 65,535
	// bytes in segments of network.SegmentBytesMin.
	chunksMax  = 2048
	chunkBytes = 4096
	umemBytes  = 2 * chunksMax * chunkBytes
	// headroomBytes is what the kernel keeps free before a frame received
	// (XDP_PACKET_HEADROOM).
	headroomBytes = 256
	// hasFrags is BPF_F_XDP_HAS_FRAGS of linux/bpf.h: the program takes frames that
	// are not contiguous.
	hasFrags = 1 << 5
)

// Mode says where the program that catches the frames runs.
type Mode uint8

const (
	// Native: in the driver, before the kernel's stack has made anything of a frame;
	// without copying, if the driver can.
	Native Mode = iota
	// Generic: in the stack, for any driver; frames are copied.
	Generic
)

// Descriptors are all that a link needs of the kernel, so that they can be kept and
// handed to another process.
type Descriptors struct {
	Program int // the attachment of the program to the interface
	Holder  int // keeps the interface promiscuous
	Queues  []Queue
}

// Queue is one queue of the interface.
type Queue struct {
	Socket int
	Memory int // a memfd: the UMEM
}

// Open takes the first queues of the interface with this index of the caller's
// network namespace: all frames that come in by them go to the link, none to the
// host. mtu is that of the network: where a chunk suffices for it, the kernel drops what
// comes in and is longer. The interface receives frames for any address while the
// descriptors are open. It needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF. Errors are
// *link.Error; KindBusy also for a moment after a link on the same queue has been
// closed, since the kernel lets go of queues later.
func Open(index, queues, mtu int, mode Mode) (*Descriptors, error) {
	if queues < 1 || queues > QueuesMax {
		return nil, &link.Error{Kind: link.KindConfig, Link: "xdp", Op: "open queues", Err: fmt.Errorf("%d queues; allowed are 1 to %d", queues, QueuesMax)}
	}
	d := &Descriptors{Program: -1, Holder: -1}
	if err := d.open(index, queues, mtu, mode); err != nil {
		d.Close()
		if errors.Is(err, ebpf.ErrNotSupported) {
			return nil, &link.Error{Kind: link.KindUnsupported, Link: "xdp", Op: "open", Err: err}
		}
		return nil, link.WrapOpen("xdp", "open", err)
	}
	return d, nil
}

func (d *Descriptors) open(index, queues, mtu int, mode Mode) error {
	flags := uint16(xsk.FlagNeedWakeup)
	if mode == Generic {
		flags |= xsk.FlagCopy
	}
	if jumbo(mtu) {
		flags |= xsk.FlagPieces
	}
	for number := range queues {
		q, err := openQueue(index, number, flags)
		if err != nil {
			return fmt.Errorf("queue %d: %w", number, err)
		}
		d.Queues = append(d.Queues, q)
	}
	var err error
	if d.Holder, err = unix.HoldPromiscuous(index); err != nil {
		return err
	}
	d.Program, err = d.attach(index, mode)
	return err
}

// jumbo tells whether a frame may need more than one chunk.
func jumbo(mtu int) bool {
	return mtu+network.EthernetBytes+network.TagBytes > chunkBytes-headroomBytes
}

func openQueue(index, number int, flags uint16) (q Queue, err error) {
	memory, err := unix.CreateMemfd("quintet-umem", umemBytes)
	if err != nil {
		return q, err
	}
	umem, err := unix.Map(memory, umemBytes, true, true)
	if err == nil {
		q = Queue{Memory: memory}
		q.Socket, err = xsk.Open(index, number, umem, chunkBytes, chunksMax, flags)
		err = errors.Join(err, unix.Unmap(umem))
	}
	if err != nil {
		unix.Close(memory)
	}
	return q, err
}

// attach loads the program and attaches it to the interface: a frame of queue i goes
// to the i-th socket of a map, and to the host's stack if there is none.
func (d *Descriptors) attach(index int, mode Mode) (int, error) {
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Name: "quintet_xsk", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(len(d.Queues))})
	if err != nil {
		return -1, err
	}
	defer sockets.Close()
	for i, q := range d.Queues {
		if err := sockets.Put(uint32(i), uint32(q.Socket)); err != nil {
			return -1, err
		}
	}
	const (
		queueAt = 16 // of rx_queue_index in struct xdp_md
		pass    = 2  // XDP_PASS
	)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "quintet_xdp", Type: ebpf.XDP, Flags: hasFrags, License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, queueAt, asm.Word),
			asm.LoadMapPtr(asm.R1, sockets.FD()),
			asm.Mov.Imm(asm.R3, pass),
			asm.FnRedirectMap.Call(),
			asm.Return(),
		}})
	if err != nil {
		return -1, err
	}
	defer program.Close()
	flags := attach.XDPDriverMode
	if mode == Generic {
		flags = attach.XDPGenericMode
	}
	attachment, err := attach.AttachXDP(attach.XDPOptions{Program: program, Interface: index, Flags: flags})
	if err != nil {
		return -1, err
	}
	defer attachment.Close()
	return unix.Dup(attachment.(interface{ FD() int }).FD())
}

// Close closes all descriptors.
func (d *Descriptors) Close() error {
	var errs []error
	for _, fd := range []int{d.Program, d.Holder} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	for _, q := range d.Queues {
		errs = append(errs, unix.Close(q.Socket), unix.Close(q.Memory))
	}
	return errors.Join(errs...)
}
