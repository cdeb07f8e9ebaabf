package unix

import sys "golang.org/x/sys/unix"

// Error numbers that callers tell apart.
const (
	ErrAgain        = sys.EAGAIN
	ErrBadState     = sys.EBADFD
	ErrBusy         = sys.EBUSY
	ErrInvalid      = sys.EINVAL
	ErrIO           = sys.EIO
	ErrNetworkDown  = sys.ENETDOWN
	ErrNoBuffers    = sys.ENOBUFS
	ErrNoDevice     = sys.ENODEV
	ErrNoAddress    = sys.ENXIO
	ErrNotSupported = sys.EOPNOTSUPP
	ErrTooLong      = sys.EMSGSIZE
)
