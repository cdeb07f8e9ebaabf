package ext4

import (
	"strings"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// symlinksMax bounds the symbolic links followed in one path.
const symlinksMax = 40

// Root is the inode of the root directory.
const Root = disk.RootIno

// Walk resolves a path from the root directory. Components are separated by
// slashes; symbolic links are followed, the last one only if follow is set.
func (f *FS) Walk(path string, follow bool) (uint32, error) {
	at := uint32(Root)
	rest := path
	links := 0
	for {
		rest = strings.TrimLeft(rest, "/")
		if rest == "" {
			return at, nil
		}
		name := rest
		if n := strings.IndexByte(rest, '/'); n >= 0 {
			name, rest = rest[:n], rest[n:]
		} else {
			rest = ""
		}
		ino, err := f.Lookup(at, name)
		if err != nil {
			return 0, err
		}
		a, err := f.Stat(ino)
		if err != nil {
			return 0, err
		}
		if a.Mode&disk.ModeType == disk.ModeSymlink && (follow || strings.Trim(rest, "/") != "") {
			if links++; links > symlinksMax {
				return 0, refuse(KindLoop, "walk", ino, path)
			}
			target, err := f.Readlink(ino)
			if err != nil {
				return 0, err
			}
			if strings.HasPrefix(target, "/") {
				at = Root
			}
			rest = target + "/" + rest
			continue
		}
		at = ino
	}
}
