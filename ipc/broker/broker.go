// Package broker is the control protocol between applications, the supervisor
// and server processes: it hands out the descriptors of which sessions are made.
//
// Purpose: one JSON message per datagram over a SOCK_SEQPACKET Unix socket, with
// descriptors by SCM_RIGHTS. Nothing of a session's data passes here; the data
// path works without the supervisor once a session stands.
//
// Invariants: every message carries the protocol's version. A message has
// exactly the descriptors its kind asks for, or it is refused and all of them
// are closed. A message is at most MessageMax bytes long.
//
// Trust: the supervisor trusts nothing an application sends beyond what Receive
// has checked, which is form only: version, kind, number of descriptors. Sizes,
// rights and seals are the receiver's to check. A server trusts its supervisor.
//
// Concurrency: Send may be called from any goroutine, Receive from one at a
// time. There are no locks.
package broker

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Version of the protocol. Both ends refuse any other.
const Version = 1

// MessageMax bounds a message, in bytes. A session of a port that carries every VLAN
// takes most of it.
const MessageMax = 32 << 10

// NameMax bounds the name of a domain, volume or network, in bytes.
const NameMax = 64

// CheckName says what is wrong with a name that an application chooses: it is shown to
// people, and must not be able to pass for more than a name.
func CheckName(name string) error {
	if len(name) > NameMax {
		return fmt.Errorf("a name of %d bytes, at most %d are allowed", len(name), NameMax)
	}
	if strings.ContainsFunc(name, unprintable) {
		return fmt.Errorf("the name %q has characters that cannot be printed", name)
	}
	return nil
}

// PrintableName is a name that CheckName accepts, as near to any text as can be.
func PrintableName(text string) string {
	name := printable(text)
	for len(name) > NameMax {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}

// printable is a text with everything else in it replaced.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '_'
		}
		return r
	}, text)
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// Kind names a type of message.
type Kind string

// Errors of Receive. Any of them means that the peer does not speak this
// protocol; the connection is of no further use.
var (
	// ErrVersion: the peer speaks another version of the protocol.
	ErrVersion = errors.New("broker: the peer speaks another version of the control protocol")
	// ErrMalformed: the message is not what its kind asks for.
	ErrMalformed = errors.New("broker: malformed message")
)

// ErrNoRoom: this process has no room for the descriptors of a message, which is
// no fault of the peer's. They are closed; the connection can be used further.
var ErrNoRoom = errors.New("broker: this process has too many open files to receive a message's descriptors")

// Code classifies a refusal.
type Code string

// The codes of Refused.
const (
	CodeVersion   Code = "version"     // another version of the protocol
	CodeMalformed Code = "malformed"   // the message breaks the protocol
	CodeNotFound  Code = "not-found"   // no such server, volume, network or session
	CodeDenied    Code = "denied"      // the topology grants no such right to this user
	CodeConflict  Code = "conflict"    // an address that another port of the network has
	CodeLimit     Code = "limit"       // a limit of the topology or of the protocol
	CodeMemory    Code = "memory"      // a segment or region is not sealed, or of the wrong size
	CodeDown      Code = "unavailable" // the server cannot be reached now
	CodeInternal  Code = "internal"    // the supervisor failed
)

// Refused is the answer to a request that is not granted. It implements error.
type Refused struct {
	Code   Code   `json:"code"`
	Reason string `json:"reason"`
}

func (r *Refused) Error() string { return fmt.Sprintf("supervisor: %s (%s)", r.Reason, r.Code) }

// Is matches another Refused with the same code.
func (r *Refused) Is(target error) bool {
	t, ok := target.(*Refused)
	return ok && t.Code == r.Code
}

// Refuse returns a refusal with a formatted reason.
func Refuse(code Code, format string, args ...any) *Refused {
	return &Refused{Code: code, Reason: fmt.Sprintf(format, args...)}
}
