package network

import "fmt"

// Kind says what went wrong.
type Kind uint8

const (
	kindNone Kind = iota
	// KindDescriptor: a descriptor that no correct peer writes. It ends the session.
	KindDescriptor
	// KindGeometry: a session that is not shaped like a port, or a region too small
	// for its buffers.
	KindGeometry
	// KindConfig: a port configuration that contradicts itself.
	KindConfig
	// KindConflict: an address that another port of the network has.
	KindConflict
	// KindLimit: more ports or addresses than the limits allow.
	KindLimit
	// KindClosed: the port or the stack has been closed.
	KindClosed
	// KindAddress: a name or address that cannot be understood or is unknown.
	KindAddress
	kindEnd
)

var kindText = [kindEnd]string{
	KindDescriptor: "a malformed descriptor",
	KindGeometry:   "a session that is no port",
	KindConfig:     "a port configuration that contradicts itself",
	KindConflict:   "an address in use",
	KindLimit:      "a limit reached",
	KindClosed:     "closed",
	KindAddress:    "an unknown name or address",
}

// Error makes a bare kind usable with errors.Is.
func (k Kind) Error() string {
	if k == kindNone || k >= kindEnd {
		return fmt.Sprintf("unknown error kind %d", uint8(k))
	}
	return kindText[k]
}

// Error is an error of this package and of those below it.
type Error struct {
	Kind   Kind
	Detail string
}

func (e *Error) Error() string { return "network: " + e.Kind.Error() + ": " + e.Detail }

// Is reports whether target is this error's kind.
func (e *Error) Is(target error) bool {
	kind, ok := target.(Kind)
	return ok && kind == e.Kind
}
