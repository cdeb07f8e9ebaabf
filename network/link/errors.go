package link

import (
	"errors"
	"io/fs"

	"github.com/quintet-os/quintet/internal/unix"
)

// Kind says what is wrong with a link.
type Kind uint8

const (
	kindNone Kind = iota
	// KindConfig: what was asked for contradicts itself or the descriptor.
	KindConfig
	// KindPermission: the caller may not do this to the interface.
	KindPermission
	// KindMissing: there is no such interface, queue or device file.
	KindMissing
	// KindBusy: somebody else has the interface or the queue.
	KindBusy
	// KindUnsupported: this kernel or this driver cannot do it.
	KindUnsupported
	// KindDown: the interface is down. It may come up again; the link lives on.
	KindDown
	// KindGone: the interface has been removed. The link is at its end.
	KindGone
	// KindIO: the kernel failed in a way that has no kind of its own.
	KindIO
	kindEnd
)

var kindText = [kindEnd]string{
	KindConfig:      "cannot be used like this",
	KindPermission:  "not permitted; it needs CAP_NET_ADMIN and CAP_NET_RAW over the network namespace (see `quintet doctor`)",
	KindMissing:     "no such interface or device",
	KindBusy:        "in use by another process",
	KindUnsupported: "not supported by this kernel or driver",
	KindDown:        "the interface is down; set it up with `ip link set DEVICE up`",
	KindGone:        "the interface has been removed",
	KindIO:          "failed",
}

// Error makes a bare kind usable with errors.Is.
func (k Kind) Error() string {
	if k == kindNone || k >= kindEnd {
		return "unknown kind of link error"
	}
	return kindText[k]
}

// Error is the error of a link.
type Error struct {
	Kind Kind
	Link string // the interface, or the kind of link if it has no name yet
	Op   string // what was attempted
	Err  error  // the cause
}

func (e *Error) Error() string {
	text := "network: link " + e.Link + ": " + e.Op + ": " + e.Kind.Error()
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

// Wrap makes an *Error of what a system call returned; nil stays nil.
func Wrap(link, op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kindOf(err), Link: link, Op: op, Err: err}
}

// WrapOpen is Wrap for the opening of a link, where nothing can be gone already.
func WrapOpen(link, op string, err error) error {
	if err == nil {
		return nil
	}
	kind := kindOf(err)
	if kind == KindGone {
		kind = KindMissing
	}
	return &Error{Kind: kind, Link: link, Op: op, Err: err}
}

func kindOf(err error) Kind {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return KindPermission
	case errors.Is(err, unix.ErrNoDevice), errors.Is(err, unix.ErrNoAddress), errors.Is(err, unix.ErrBadState):
		return KindGone
	case errors.Is(err, fs.ErrNotExist):
		return KindMissing
	case errors.Is(err, unix.ErrBusy):
		return KindBusy
	case errors.Is(err, unix.ErrInvalid):
		return KindConfig
	case errors.Is(err, unix.ErrNotSupported):
		return KindUnsupported
	case errors.Is(err, unix.ErrNetworkDown):
		return KindDown
	}
	return KindIO
}
