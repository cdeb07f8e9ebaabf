package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"github.com/vishvananda/netlink"
)

// Link is an interface as it is at a time.
type Link struct {
	Index int // another one whenever it is made again
	MAC   net.HardwareAddr
	MTU   int  // bytes
	Up    bool // somebody has set it up
	// Carrier: what is at its other end is up as well, as far as it knows.
	Carrier bool
}

// Lookup looks at an interface of the caller's own namespace. The error is
// fs.ErrNotExist if there is none of that name.
func Lookup(name string) (Link, error) {
	found, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Link{}, fmt.Errorf("interface %s: %w", name, err)
	}
	a := found.Attrs()
	return Link{Index: a.Index, MAC: a.HardwareAddr, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, Carrier: a.Flags&net.FlagRunning != 0}, nil
}

// Change is something that has become of an interface: it was made, set up or down,
// renamed, or removed. The zero Change stands for any of any interface.
type Change struct {
	Index   int
	Name    string // that it has now, or had last
	Removed bool   // from the namespace
}

// Watch calls changed with the changes of the interfaces of the caller's own namespace,
// one after the other, until ctx ends, which is no error. It begins with the zero
// Change: from then on none is missed. The error is that the kernel tells no more, as it
// does to those who listen too slowly: Watch again.
func Watch(ctx context.Context, changed func(Change)) error {
	updates, done := make(chan netlink.LinkUpdate, changesMax), make(chan struct{})
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	defer func() {
		close(done)
		for range updates {
		}
	}()
	changed(Change{})
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, more := <-updates:
			if !more {
				return errors.New("watch interfaces: the kernel has told too much at once")
			}
			// A bridge tells of its ports as well, under a family of its own.
			if u.IfInfomsg.Family == syscall.AF_UNSPEC {
				a := u.Attrs()
				changed(Change{Index: a.Index, Name: a.Name, Removed: u.Header.Type == syscall.RTM_DELLINK})
			}
		}
	}
}
