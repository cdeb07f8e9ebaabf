package unix

import sys "golang.org/x/sys/unix"

// IsTerminal tells whether fd is a terminal.
func IsTerminal(fd int) bool {
	_, err := sys.IoctlGetTermios(fd, sys.TCGETS)
	return err == nil
}
