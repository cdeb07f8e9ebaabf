package unix

import sys "golang.org/x/sys/unix"

// Lgetxattr reads an extended attribute of path, not following a symbolic
// link, into p. With an empty p it returns the size.
func Lgetxattr(path, name string, p []byte) (int, error) { return sys.Lgetxattr(path, name, p) }

// Lsetxattr sets one.
func Lsetxattr(path, name string, value []byte) error { return sys.Lsetxattr(path, name, value, 0) }

// Llistxattr lists the names, each ended by a zero byte, into p.
func Llistxattr(path string, p []byte) (int, error) { return sys.Llistxattr(path, p) }
