package server

import (
	"fmt"
	"unsafe"

	"github.com/quintet-os/quintet/network"
)

// owner says whose a row of connections is. A row whose Session is 0 is nobody's.
type owner struct {
	Session uint64
	Network int64
	Group   int64
	Begun   uint32 // connections so far
	MAC     network.MAC
	Uplink  bool
	_       [64 - 3*8 - 4 - 6 - 1]byte
}

// connection is a TCP connection of a port, or none if its State is 0. IPv4 addresses
// are in their IPv4-mapped form.
type connection struct {
	endpoints
	PeerMAC network.MAC
	VLAN    uint16
	State   state
	_       [3]byte
	Seq     uint32 // of the port's SYN
	PeerSeq uint32 // of the peer's
	End     uint32 // what acknowledges the port's FIN
	Age     uint32 // of its last SYN, counted by row
}

type endpoints struct {
	Local, Peer         [16]byte
	LocalPort, PeerPort uint16
}

// row holds the connections of one port, in sets of which a connection belongs to one.
type row [rowSets][rowWays]connection

const (
	rowWays = 8
	rowSets = network.ConnectionsMax / rowWays
)

// Connections is the table of the TCP connections of all ports. It is only memory
// without pointers, so that a supervisor can keep it for the servers to come; the
// active server writes it, and a word that a server left half written costs a peer at
// most the news of a death.
type Connections struct {
	owners *[network.PortsMax]owner
	rows   [network.PortsMax]*row // allocated when they are needed, unless kept
}

// NewConnections returns a table that ends with its servers.
func NewConnections() *Connections { return &Connections{owners: new([network.PortsMax]owner)} }

// ViewConnections returns the table in a mapping, which must be page-aligned and has
// network.ConnectionsBytes at least.
func ViewConnections(mem []byte) (*Connections, error) {
	type table struct {
		owners [network.PortsMax]owner
		rows   [network.PortsMax]row
	}
	const size = network.ConnectionsBytes
	var _ [0]byte = [unsafe.Sizeof(table{}) - size]byte{}
	if len(mem) < size {
		return nil, &network.Error{Kind: network.KindGeometry, Detail: fmt.Sprintf("a table of connections of %d bytes, need %d", len(mem), size)}
	}
	t := (*table)(unsafe.Pointer(unsafe.SliceData(mem)))
	c := &Connections{owners: &t.owners}
	for i := range c.rows {
		c.rows[i] = &t.rows[i]
	}
	return c, nil
}
