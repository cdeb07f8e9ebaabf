package server

import (
	"encoding/binary"
	"time"

	"github.com/quintet-os/quintet/network"
)

const (
	// captureBytesMax bounds what a capture holds before it is taken.
	captureBytesMax = 8 << 20
	pcapMagicNs     = 0xa1b23c4d
	pcapEthernet    = 1
)

// Capture collects the frames of a port in the pcap format with nanoseconds,
// super-segments uncut, checksums finished. What does not fit before the next Take is
// lost and counted. It belongs to the goroutine of the loop.
type Capture struct {
	// Lost frames did not fit.
	Lost uint64

	epoch time.Time
	buf   []byte
}

// NewCapture returns a capture that begins with the header of a file. Epoch is
// the wall clock at time zero of the loop.
func NewCapture(epoch time.Time) *Capture {
	t := &Capture{epoch: epoch}
	b := binary.LittleEndian.AppendUint32(nil, pcapMagicNs)
	b = binary.LittleEndian.AppendUint16(b, 2) // version 2.4
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, network.FrameBytesMax)
	t.buf = binary.LittleEndian.AppendUint32(b, pcapEthernet)
	return t
}

// Take returns what was collected since the last call, for the caller to keep.
func (t *Capture) Take() []byte {
	b := t.buf
	t.buf = nil
	return b
}

func (t *Capture) record(now time.Duration, headers, payload []byte, o network.Offload) {
	n := len(headers) + len(payload)
	if len(t.buf)+16+n > captureBytesMax {
		t.Lost++
		return
	}
	at := t.epoch.Add(now)
	b := binary.LittleEndian.AppendUint32(t.buf, uint32(at.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(at.Nanosecond()))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	start := len(b)
	b = append(b, headers...)
	b = append(b, payload...)
	o.FinishChecksum(b[start:])
	t.buf = b
}
