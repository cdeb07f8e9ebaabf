package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// An uplink's interface is the one that has its name. One that goes, whether it is
// removed, renamed, or moved to another namespace, takes the uplink's process with it,
// and the next one is started when there is an interface of that name again: it may be
// another, so nothing is kept of the descriptors.

// watchInterfaces has uplinks follow their interfaces until ctx ends.
func (s *Supervisor) watchInterfaces(ctx context.Context) {
	for ctx.Err() == nil {
		err := netns.Watch(ctx, func(c netns.Change) {
			for _, u := range s.uplinks {
				if u.Interface != "" && u.concerns(c) {
					u.look(c)
				}
			}
		})
		if err != nil {
			slog.Warn("interfaces may have changed", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(reopenPeriod):
			}
		}
	}
}

// concerns tells whether a change may be one of the uplink's interface.
func (u *uplink) concerns(c netns.Change) bool {
	u.sup.mu.Lock()
	defer u.sup.mu.Unlock()
	return c == netns.Change{} || c.Name == u.Interface || u.link != nil && c.Index == u.link.index
}

// look takes in how the interface of the uplink's name is after a change.
func (u *uplink) look(c netns.Change) {
	u.looking.Lock()
	defer u.looking.Unlock()
	now, err := netns.Lookup(u.Interface)
	u.sup.mu.Lock()
	defer u.sup.mu.Unlock()
	if u.stopping {
		return
	}
	missing := errors.Is(err, fs.ErrNotExist)
	if u.link == nil {
		// At once, if it was not there: one that is there and of no use may change by the
		// very attempts to open it.
		if err == nil && u.missing {
			u.launchAt = time.Time{}
			u.ensure()
		}
		u.missing = missing
		return
	}
	u.missing = missing
	// One that was moved away and back has the same number.
	if missing || err == nil && now.Index != u.link.index || c.Removed && c.Index == u.link.index {
		u.link.gone = true
	}
	if u.link.gone {
		u.note(u.waiting(nil))
		u.retry.progressed() // this end is no failure of the process
		u.kill()
		u.ensure()
		return
	}
	if err == nil {
		u.note(u.link.condition(now, u.mtu))
	}
}

// condition says what keeps an interface from carrying the frames of its network, or
// nothing.
func (l *hostLink) condition(now netns.Link, mtu int) string {
	switch {
	case !now.Up:
		return fmt.Sprintf("interface %s is down; set it up with `ip link set %[1]s up`", l.name)
	case !now.Carrier:
		return fmt.Sprintf("interface %s has no carrier", l.name)
	case now.MTU < mtu:
		return tooSmall(l.name, now.MTU, mtu)
	}
	return ""
}

func tooSmall(name string, has, mtu int) string {
	return fmt.Sprintf("interface %s has an MTU of %d, its network one of %d; raise that of the interface, or lower the network's", name, has, mtu)
}

// waiting says what an uplink without interface waits for.
func (u *uplink) waiting(err error) string {
	text := "waiting for interface " + u.Interface
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return text
	}
	return text + ": " + err.Error()
}

// note keeps, and tells, what is wrong with the interface, or that nothing is.
// Supervisor.mu is held.
func (u *uplink) note(trouble string) {
	if u.trouble == trouble {
		return
	}
	u.trouble = trouble
	if trouble == "" {
		slog.Info("interface is well", "uplink", u.Name, "interface", u.Interface)
	} else {
		slog.Warn("interface is not well", "uplink", u.Name, "trouble", trouble)
	}
	u.sup.changed.Broadcast()
}

// attach opens the interface, unless it is open and still the one of its name. No
// process of the uplink may have descriptors of it.
func (u *uplink) attach() error {
	if u.Kind == topology.User {
		return nil
	}
	u.look(netns.Change{})
	u.sup.mu.Lock()
	old := u.link
	if old != nil && old.gone {
		u.link = nil
	}
	lost := u.link == nil
	u.sup.mu.Unlock()
	if !lost {
		return nil
	}
	if old != nil {
		old.close()
	}
	l, err := openHostLink(&u.Uplink, u.mtu, u.tap)
	if err != nil {
		return err
	}
	u.sup.mu.Lock()
	if u.link = l; l.made != nil {
		u.tap = l.made
	}
	u.sup.mu.Unlock()
	u.look(netns.Change{})
	return nil
}

// describe makes the configuration of the process.
func (u *uplink) describe() ([]byte, error) {
	config := UplinkConfig{Uplink: u.Uplink, Publish: u.published}
	if u.link != nil {
		config.Queues, config.Mode = u.link.queues, u.link.mode
	}
	return json.Marshal(config)
}
