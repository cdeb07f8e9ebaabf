package ext4

import (
	"errors"
	"fmt"
	"io/fs"
)

// Kind says why an operation was refused. Damage and device failures are not
// kinds: they are *disk.CorruptError, *disk.UnsupportedError, *buffer.IOError.
type Kind uint8

// Kinds, after the errno each stands for.
const (
	KindNotExist     Kind = iota + 1 // no such name or inode (ENOENT)
	KindExist                        // the name is taken (EEXIST)
	KindNotDir                       // a directory was needed (ENOTDIR)
	KindIsDir                        // anything but a directory was needed (EISDIR)
	KindNotEmpty                     // the directory has entries (ENOTEMPTY)
	KindNoSpace                      // no free block or inode (ENOSPC)
	KindNameTooLong                  // more than 255 bytes (ENAMETOOLONG)
	KindInvalid                      // an impossible argument (EINVAL)
	KindReadOnly                     // mounted read-only, or the journal was aborted (EROFS)
	KindTooManyLinks                 // the inode has 65,000 links (EMLINK)
	KindTooBig                       // beyond the greatest file size (EFBIG)
	KindNoData                       // no such attribute (ENODATA)
	KindRange                        // the attribute does not fit (ERANGE, ENOSPC)
	KindLoop                         // more than 40 symbolic links (ELOOP)
	KindStale                        // the inode was freed (ESTALE)
	KindPermission                   // immutable or append-only file (EPERM)
	KindNotSupported                 // not on this kind of file (EOPNOTSUPP)
	KindNoOffset                     // no data or hole beyond the offset (ENXIO)
	KindClosed                       // the file system was closed
	KindQuota                        // beyond what a user, group or project may use (EDQUOT)
	KindCrossProject                 // the directory takes nothing of another project (EXDEV)
)

var kindNames = [...]string{
	KindNotExist: "no such file", KindExist: "file exists", KindNotDir: "not a directory", KindIsDir: "is a directory",
	KindNotEmpty: "directory not empty", KindNoSpace: "no space left on the volume", KindNameTooLong: "name too long",
	KindInvalid: "invalid argument", KindReadOnly: "read-only file system", KindTooManyLinks: "too many links",
	KindTooBig: "file too large", KindNoData: "no such attribute", KindRange: "attribute does not fit",
	KindLoop: "too many symbolic links", KindStale: "stale inode", KindPermission: "operation not permitted",
	KindNotSupported: "not supported on this file", KindNoOffset: "no data or hole beyond the offset", KindClosed: "file system is closed",
	KindQuota: "quota exceeded", KindCrossProject: "directory of another project",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("error kind %d", uint8(k))
}

// Error makes a bare kind usable with errors.Is.
func (k Kind) Error() string { return k.String() }

// Error is a refused operation.
type Error struct {
	Kind Kind
	Op   string // "lookup", "rename", ...
	Ino  uint32 // the inode operated on
	Name string // the name in it, if there is one
}

func (e *Error) Error() string {
	if e.Name != "" {
		return fmt.Sprintf("ext4: %s %q in inode %d: %s", e.Op, e.Name, e.Ino, e.Kind)
	}
	return fmt.Sprintf("ext4: %s inode %d: %s", e.Op, e.Ino, e.Kind)
}

// Is matches the kind, and the standard library's errors where one means the same.
func (e *Error) Is(target error) bool {
	if k, ok := target.(Kind); ok {
		return k == e.Kind
	}
	switch target {
	case fs.ErrNotExist:
		return e.Kind == KindNotExist
	case fs.ErrExist:
		return e.Kind == KindExist || e.Kind == KindNotEmpty
	case fs.ErrPermission:
		return e.Kind == KindPermission
	case fs.ErrInvalid:
		return e.Kind == KindInvalid
	case fs.ErrClosed:
		return e.Kind == KindClosed
	}
	return false
}

func refuse(k Kind, op string, ino uint32, name string) error {
	return &Error{Kind: k, Op: op, Ino: ino, Name: name}
}

// KindOf is the kind of a refused operation, or 0 for any other error.
func KindOf(err error) Kind {
	if e, ok := err.(*Error); ok {
		return e.Kind
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}
