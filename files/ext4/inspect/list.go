package inspect

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Entry is one name of a directory and what it leads to.
type Entry struct {
	Name string `json:"name"`
	// Bytes is the name when it is not UTF-8, which Name then only resembles.
	Bytes  []byte    `json:"name_bytes,omitempty"`
	Inode  uint32    `json:"inode"`
	Type   string    `json:"type"`
	Mode   uint16    `json:"mode"` // permissions
	Links  uint32    `json:"links"`
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Size   uint64    `json:"size"`
	Mtime  time.Time `json:"mtime"`
	Target string    `json:"target,omitempty"` // of a symbolic link
	// Damage says why the inode cannot be read; the fields that it would fill
	// are then empty.
	Damage string `json:"damage,omitempty"`

	form string // permissions as ls writes them
}

// Listing is what List returns.
type Listing []Entry

// List lists a directory, in the order it is stored in; or the one file that
// path names. Symbolic links are followed. An inode that is damaged is listed
// with the damage.
func (m *Image) List(path string) (Listing, error) {
	ino, err := m.resolve(path, true)
	if err != nil {
		return nil, err
	}
	a, err := m.f.Stat(ino)
	if err != nil {
		return nil, err
	}
	if a.Mode&disk.ModeType != disk.ModeDir {
		return Listing{m.entry(path, ino)}, nil
	}
	var found []ext4.DirEntry
	err = m.f.ReadDir(ino, 0, func(e ext4.DirEntry) bool {
		found = append(found, e)
		return true
	})
	list := make(Listing, 0, len(found))
	for _, e := range found {
		list = append(list, m.entry(e.Name, e.Ino))
	}
	return list, err
}

func (m *Image) entry(name string, ino uint32) Entry {
	e := Entry{Name: name, Inode: ino}
	if !utf8.ValidString(name) {
		e.Bytes = []byte(name)
	}
	a, err := m.f.Stat(ino)
	if err == nil && a.Mode&disk.ModeType == disk.ModeSymlink {
		e.Target, err = m.f.Readlink(ino)
	}
	if err != nil {
		e.Damage = err.Error()
		return e
	}
	e.Type, e.Mode, e.Links, e.UID, e.GID = typeName(a.Mode), a.Mode&^disk.ModeType, a.Links, a.UID, a.GID
	e.Size, e.Mtime, e.form = a.Size, a.Mtime.UTC(), a.FileMode().String()
	return e
}

// Print writes the list for people.
func (l Listing) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range l {
		if e.Damage != "" {
			fmt.Fprintf(table, "%d\t?\t?\t?\t?\t?\t?\t%s: %s\n", e.Inode, printable(e.Name), printable(e.Damage))
			continue
		}
		arrow := ""
		if e.Target != "" {
			arrow = " -> " + printable(e.Target)
		}
		fmt.Fprintf(table, "%d\t%s\t%d\t%d\t%d\t%d\t%s\t%s%s\n", e.Inode, e.form, e.Links, e.UID, e.GID, e.Size,
			e.Mtime.Format("2006-01-02 15:04:05"), printable(e.Name), arrow)
	}
	return table.Flush()
}
