package storage

import "fmt"

// Kind says what went wrong. Kinds travel on the wire; their numbers never
// change, and KindOK is success.
type Kind uint8

const (
	KindOK Kind = iota
	// KindMalformed: an undefined operation, flag or volume, or a length
	// beyond the limits. Only a broken client sees it.
	KindMalformed
	// KindAlignment: an offset or length that is no multiple of the block size.
	KindAlignment
	// KindBounds: beyond the end of the volume, or of the region.
	KindBounds
	// KindPermission: a change to a volume this session may only read, or a read
	// into memory the server may not write.
	KindPermission
	// KindNoSpace: the file system behind the volume is full. The range may have
	// been written in part. Nothing else is affected; retry after making room.
	KindNoSpace
	// KindGone: the device has vanished (detached, unplugged) or the file has
	// become shorter than the volume.
	KindGone
	// KindIO: the device reported an error for this range.
	KindIO
	// KindPoison: the request was being executed in ipc.PoisonAttempts deaths of the
	// server, and is not executed again.
	KindPoison
	// KindUnsupported: the device cannot do it at all.
	KindUnsupported
	// KindClosed: the volume, the client or the session has been closed; whether
	// the operation was executed is not known.
	KindClosed
	// KindCanceled: the caller's context ended. The operation may still be
	// executed, and its buffer stays in use until it has been.
	KindCanceled
	// KindRegion: the request names memory that was not granted, or has been taken back.
	// Nothing was executed; the session goes on.
	KindRegion
	kindEnd
)

var kindNames = [kindEnd]string{
	KindOK:          "no error",
	KindMalformed:   "malformed request",
	KindAlignment:   "not aligned to the block size",
	KindBounds:      "out of bounds",
	KindPermission:  "permission denied: read-only",
	KindNoSpace:     "no space left on the device",
	KindGone:        "the device is gone or has shrunk",
	KindIO:          "input/output error of the device",
	KindPoison:      "refused: the server died each time it executed this",
	KindUnsupported: "not supported by the device",
	KindClosed:      "closed",
	KindCanceled:    "given up by the caller",
	KindRegion:      "the memory was not granted, or has been taken back",
}

// String describes the kind in a few words.
func (k Kind) String() string {
	if k < kindEnd {
		return kindNames[k]
	}
	return fmt.Sprintf("unknown error kind %d", uint8(k))
}

// Error makes a bare kind usable with errors.Is: errors.Is(err, storage.KindNoSpace).
func (k Kind) Error() string { return k.String() }

// Error is the error of one operation on a volume.
type Error struct {
	Kind   Kind
	Op     Op
	Offset int64 // of the volume, bytes
	Length int64 // bytes
	Err    error // the cause, if there is one beyond the kind
}

// Error names the operation, its range and the kind.
func (e *Error) Error() string {
	text := fmt.Sprintf("storage: %s of %d bytes at %d: %s", e.Op, e.Length, e.Offset, e.Kind)
	if e.Op == OpFlush || e.Op == OpInfo {
		text = fmt.Sprintf("storage: %s: %s", e.Op, e.Kind)
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
