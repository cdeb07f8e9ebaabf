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
	pcapHeaderBytes = 24
	pcapRecordBytes = 16
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
	begun bool // the header of the file has been taken
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

// Take takes whole records of what was collected, in order: as many as have up to limit
// bytes, and one at least if there is any. They are valid until the next call.
func (t *Capture) Take(limit int) []byte {
	n := 0
	for n < len(t.buf) {
		size := t.size(n)
		if n > 0 && n+size > limit {
			break
		}
		n += size
	}
	taken := t.buf[:n:n]
	if t.buf = t.buf[n:]; len(t.buf) == 0 {
		t.buf = nil
	}
	t.begun = t.begun || n > 0
	return taken
}

// Skip leaves out the header of the file, which a predecessor has written.
func (t *Capture) Skip() { t.buf, t.begun = nil, true }

// size is that of the record, or of the file's header, at an offset of buf.
func (t *Capture) size(at int) int {
	if at == 0 && !t.begun {
		return pcapHeaderBytes
	}
	return pcapRecordBytes + int(binary.LittleEndian.Uint32(t.buf[at+8:]))
}

func (t *Capture) record(now time.Duration, headers, payload []byte, o network.Offload) {
	n := len(headers) + len(payload)
	if len(t.buf)+pcapRecordBytes+n > captureBytesMax {
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
