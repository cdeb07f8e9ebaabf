package dhcp

import (
	"fmt"

	"github.com/quintet-os/quintet/network"
)

// Kind says why there is no lease.
type Kind uint8

const (
	kindNone Kind = iota
	// KindSilent: no server has answered in time.
	KindSilent
	// KindRefused: the server says that the address may not be used (any longer).
	KindRefused
	// KindExpired: the lease has run out, and no server has renewed it.
	KindExpired
	// KindMoved: the server has renewed the lease with another address.
	KindMoved
	// KindTaken: the port has a lease already, or is getting one.
	KindTaken
	// KindLimit: more leases than a network has ports.
	KindLimit
	// KindClosed: the client has been closed, or the lease released.
	KindClosed
	kindEnd
)

var kindText = [kindEnd]string{
	KindSilent:  "no DHCP server has answered; is the uplink's interface up, and is there a server behind it?",
	KindRefused: "the DHCP server refuses the address",
	KindExpired: "the lease has run out, and no DHCP server has renewed it",
	KindMoved:   "the DHCP server has changed the address",
	KindTaken:   "there is a lease already; release it first",
	KindLimit:   "there are as many leases as a network has ports",
	KindClosed:  "closed",
}

// Error makes a bare kind usable with errors.Is.
func (k Kind) Error() string {
	if k == kindNone || k >= kindEnd {
		return fmt.Sprintf("unknown kind of DHCP error %d", uint8(k))
	}
	return kindText[k]
}

// Error is an error of this package.
type Error struct {
	Kind   Kind
	MAC    network.MAC // of the port
	Detail string      // what the server says; may be empty
	Err    error       // the cause, if there is one
}

func (e *Error) Error() string {
	text := "dhcp: " + e.MAC.String() + ": " + e.Kind.Error()
	if e.Detail != "" {
		text += fmt.Sprintf(": %q", e.Detail)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is this error's kind.
func (e *Error) Is(target error) bool {
	kind, ok := target.(Kind)
	return ok && kind == e.Kind
}
