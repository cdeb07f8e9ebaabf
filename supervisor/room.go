package supervisor

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
)

const (
	// serverDescriptorsMax bounds the open files of a server's process.
	serverDescriptorsMax = 1 << 14
	// serverDescriptorsReserved are left for what is no session: devices, the process
	// itself, and messages that have arrived and not been handled yet.
	serverDescriptorsReserved = 512
	// serverMappingsReserved are left for the memory of the process itself.
	serverMappingsReserved = 4096
	// mappingsDefault are those that Linux allows a process if nobody has said
	// otherwise (vm.max_map_count).
	mappingsDefault = 65530

	// A session takes one descriptor of a process of its server, the doorbell, and two
	// mappings, the segments; each region takes another mapping.
	sessionServerDescriptors = 1
	sessionMappings          = 2
	regionMappings           = 1
)

// limits are those of a server's process.
type limits struct{ descriptors, mappings int }

// serverLimits are the limits that this host has for servers.
func serverLimits() (limits, error) {
	descriptors, _, err := unix.Limits(unix.LimitDescriptors)
	if err != nil {
		return limits{}, fmt.Errorf("read the limit of open files: %w", err)
	}
	l := limits{descriptors: int(min(descriptors, serverDescriptorsMax)), mappings: mappingsDefault}
	if text, err := os.ReadFile("/proc/sys/vm/max_map_count"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			l.mappings = n
		}
	}
	return l, nil
}

// room is what one process of a server can hold, shared out among applications: a
// process that runs out of it would let down whoever comes next. All processes of a
// server hold the same. Guarded by Supervisor.mu.
type room struct{ descriptors, mappings share }

func newRoom(server string, l limits) room {
	return room{
		descriptors: newShare("descriptors in server "+server, "end some sessions, or raise the limit of open files",
			max(l.descriptors-serverDescriptorsReserved, l.descriptors/2)),
		mappings: newShare("pieces of memory mapped in server "+server, "end some sessions, grant fewer and larger regions, or raise vm.max_map_count",
			max(l.mappings-serverMappingsReserved, l.mappings/2)),
	}
}

// take counts what a session or region needs, or says why there is no room for it.
func (r *room) take(uid uint32, privileged bool, descriptors, mappings int) *broker.Refused {
	if refusal := r.descriptors.take(uid, privileged, descriptors); refusal != nil {
		return refusal
	}
	if refusal := r.mappings.take(uid, privileged, mappings); refusal != nil {
		r.descriptors.give(uid, descriptors)
		return refusal
	}
	return nil
}

// leave takes back what was counted for a session and its regions.
func (r *room) leave(uid uint32, regions int) {
	r.descriptors.give(uid, sessionServerDescriptors)
	r.mappings.give(uid, sessionMappings+regions*regionMappings)
}

// share is a number of things of one kind that applications share. One user has at
// most half of them, unless he may use all there is. Guarded by Supervisor.mu.
type share struct {
	what, remedy string
	max, total   int
	byUser       map[uint32]int
}

func newShare(what, remedy string, most int) share {
	return share{what: what, remedy: remedy, max: most, byUser: make(map[uint32]int)}
}

// take counts n more for a user, or says why not.
func (h *share) take(uid uint32, privileged bool, n int) *broker.Refused {
	switch {
	case h.total+n > h.max:
		return broker.Refuse(broker.CodeLimit, "applications have %d %s, at most %d are allowed; %s", h.total, h.what, h.max, h.remedy)
	case !privileged && h.byUser[uid]+n > h.max/2:
		return broker.Refuse(broker.CodeLimit, "uid %d has %d %s, at most %d are allowed; end some sessions", uid, h.byUser[uid], h.what, h.max/2)
	}
	h.total += n
	h.byUser[uid] += n
	return nil
}

// give takes back what take has counted.
func (h *share) give(uid uint32, n int) {
	h.total -= n
	if h.byUser[uid] -= n; h.byUser[uid] == 0 {
		delete(h.byUser, uid)
	}
}
