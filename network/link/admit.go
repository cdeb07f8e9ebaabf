package link

import (
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/segment"
)

// Admit is what every Link asks of a frame before it sends it: that it has a
// header, that what is left to do fits the headers in Head, and that neither the
// frame nor what it is cut to is longer than the MTU.
func Admit(f *Frame, mtu int) (network.Drop, bool) {
	if len(f.Head) < network.EthernetBytes {
		return network.DropShort, false
	}
	if !segment.Check(f.Head, f.Len(), f.Offload) {
		return network.DropMalformed, false
	}
	var c segment.Cutter
	c.Reset(f.Head, f.Rest, f.Offload)
	if c.Longest() > mtu+network.EthernetBytes+tagBytes(f.Head) {
		return network.DropLong, false
	}
	return 0, true
}

func tagBytes(head []byte) int {
	if head[12] == 0x81 && head[13] == 0 {
		return network.TagBytes
	}
	return 0
}
