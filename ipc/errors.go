package ipc

import (
	"errors"
	"fmt"
)

var (
	// ErrGeometry: a session's sizes are out of bounds.
	ErrGeometry = errors.New("ipc: session geometry out of bounds")
	// ErrVersion: the peer's segment was made by another version of this package,
	// or is no segment at all.
	ErrVersion = errors.New("ipc: the peer's segment has another version")
	// ErrClosed: this side has closed the session. Requests still in flight may
	// or may not have been executed.
	ErrClosed = errors.New("ipc: session closed")
	// ErrSession: the session has ended with a reason; see SessionError.
	ErrSession = errors.New("ipc: session ended")
	// ErrHost: the host has no futex_waitv(2), which waiting for replies needs:
	// its kernel is older than Linux 5.16, or a seccomp filter refuses the call.
	ErrHost = errors.New("ipc: this host does not offer futex_waitv: Linux 5.16 is needed, and a seccomp filter that allows it")
)

// Reason says why a server ended a session. It stands in the server segment.
type Reason uint32

// Reasons. The numbers are part of the protocol.
const (
	ReasonNone     Reason = iota
	ReasonSequence        // a slot's sequence number jumped, or moved while in flight
	ReasonRing            // a ring index moved by more than the ring holds, or backwards
	ReasonVersion         // the client segment has another version
	ReasonRequest         // a request was malformed beyond a typed reply
	ReasonRevoked         // the supervisor took the session away
	ReasonShutdown        // the server was shut down for good
	reasonsEnd
)

var reasonText = [reasonsEnd]string{
	ReasonNone:     "no reason given",
	ReasonSequence: "a slot's sequence number is out of order",
	ReasonRing:     "a ring index is out of order",
	ReasonVersion:  "the client segment has another version",
	ReasonRequest:  "a request was malformed",
	ReasonRevoked:  "the supervisor revoked the session",
	ReasonShutdown: "the server was shut down",
}

func (r Reason) String() string {
	if r >= reasonsEnd {
		return fmt.Sprintf("unknown reason %d", uint32(r))
	}
	return reasonText[r]
}

// SessionError tells why a session has ended. It matches ErrSession.
type SessionError struct {
	Reason Reason
	// Detail is known on the side that ended the session only.
	Detail string
}

func (e *SessionError) Error() string {
	if e.Detail == "" {
		return "ipc: session ended: " + e.Reason.String()
	}
	return fmt.Sprintf("ipc: session ended: %v: %s", e.Reason, e.Detail)
}

// Is makes errors.Is(err, ErrSession) hold.
func (e *SessionError) Is(target error) bool { return target == ErrSession }
