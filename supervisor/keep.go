package supervisor

import (
	"encoding/json"
	"fmt"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
)

const (
	// sessionsMax bounds the sessions of one application.
	sessionsMax = 1024
	// grantedMax bounds the bytes one application may grant, over all its sessions.
	grantedMax = 8 << 30
)

// session is what the supervisor keeps of one session: enough to hand it to any
// number of server processes, one after the other.
type session struct {
	id       uint64
	app      *application
	server   *server
	terms    json.RawMessage // as the server is told
	held     held            // or nil
	geometry ipc.Geometry
	// client and segment are the two segments, the second one writable; readOnly is
	// what the client gets of it, until it has been sent.
	client, segment, readOnly, doorbell *descriptor
	regions                             map[int]*region
	failed                              string // why the server ended it
	// holders are the processes that have been handed the session. used tells whether
	// one of them has served it, so that a device may write to its memory.
	holders  map[*process]bool
	used     bool
	dropping *ending // nil unless the session ends
}

// region is granted payload memory.
type region struct {
	body   broker.Region
	memory *descriptor
	pinned []int             // pieces, by an active server; standbys do the same
	mapped map[*process]bool // processes that have said so
	// answer tells the application, once, that the active process has mapped it, or
	// that none ever will.
	answer func(broker.Body)
}

// newSession makes what the supervisor keeps of a session around a client's segment,
// which it takes over. Its descriptors have been counted. It is called
// without locks: it makes memory and looks at a stranger's.
func (a *application) newSession(id uint64, g ipc.Geometry, clientFD int) (*session, error) {
	s := &session{id: id, app: a, geometry: g, regions: make(map[int]*region), holders: make(map[*process]bool)}
	made := 0
	own := func(fd int) *descriptor {
		made++
		return a.own(fd)
	}
	err := s.make(own, clientFD)
	if err != nil {
		a.giveBack(sessionDescriptors + connectedDescriptors - made)
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) make(own func(fd int) *descriptor, clientFD int) error {
	s.client = own(clientFD)
	if err := s.geometry.Check(); err != nil {
		return broker.Refuse(broker.CodeLimit, "%v", err)
	}
	if err := shm.Check(clientFD, s.geometry.ClientBytes(), shm.OneWriter); err != nil {
		return broker.Refuse(broker.CodeMemory, "the client segment: %v", err)
	}
	segment, err := shm.Create(fmt.Sprintf("quintet-session-%d", s.id), s.geometry.ServerBytes(), shm.Shared)
	if err != nil {
		return fmt.Errorf("make a session: %w", err)
	}
	defer segment.Close()
	if err := ipc.FormatServer(segment.Mem, s.geometry); err != nil {
		return fmt.Errorf("make a session: %w", err)
	}
	readOnly, err := segment.ReadOnlyFD()
	if err != nil {
		return fmt.Errorf("make a session: %w", err)
	}
	s.readOnly = own(readOnly)
	s.segment, segment.FD = own(segment.FD), -1
	doorbell, err := unix.CreateEventfd()
	if err != nil {
		return fmt.Errorf("make a session: %w", err)
	}
	s.doorbell = own(doorbell)
	return nil
}

// checkRegion says what is wrong with memory that is to be granted. It is called
// without locks.
func checkRegion(g *broker.Grant, fd int) error {
	switch {
	case g.Region < 0 || g.Region >= ipc.RegionsMax:
		return broker.Refuse(broker.CodeLimit, "region %d is out of range: a session has regions 0 to %d", g.Region, ipc.RegionsMax-1)
	case g.Bytes <= 0 || g.Bytes > grantedMax:
		return broker.Refuse(broker.CodeLimit, "a region of %d bytes: an application may grant 1 to %d", g.Bytes, int64(grantedMax))
	}
	kind := shm.OneWriter
	if g.Writable {
		kind = shm.Shared
	}
	if err := shm.Check(fd, int(g.Bytes), kind); err != nil {
		return broker.Refuse(broker.CodeMemory, "region %d: %v", g.Region, err)
	}
	return nil
}

// mayGrant says whether there is room for a region that has been checked.
// Supervisor.mu is held.
func (s *session) mayGrant(g *broker.Grant) error {
	switch {
	case s.regions[g.Region] != nil:
		return broker.Refuse(broker.CodeLimit, "region %d is already granted", g.Region)
	case g.Bytes > grantedMax-s.app.granted:
		return broker.Refuse(broker.CodeLimit, "a region of %d bytes: this application may grant %d more", g.Bytes, grantedMax-s.app.granted)
	}
	return nil
}

// grant keeps a region that may be granted. Supervisor.mu is held.
func (s *session) grant(g *broker.Grant, memory *descriptor) *region {
	r := &region{
		body: broker.Region{
			Session: s.id, Region: g.Region, Bytes: g.Bytes,
			Writable: g.Writable, Delegable: g.Delegable,
		},
		memory: memory, mapped: make(map[*process]bool),
	}
	s.regions[g.Region] = r
	s.app.granted += g.Bytes
	s.app.sup.granted += g.Bytes
	return r
}

// offer hands the session and its regions to a process. Supervisor.mu is held.
func (s *session) offer(p *process) {
	s.holders[p] = true
	s.used = s.used || p == s.server.active
	s.server.adjustMemory()
	p.send(&broker.Session{
		ID: s.id, Client: s.app.name, Terms: s.terms, Geometry: s.geometry,
	}, nil, s.client, s.segment, s.doorbell)
	for _, r := range s.regions {
		s.offerRegion(r, p)
	}
}

func (s *session) offerRegion(r *region, p *process) {
	s.server.adjustMemory()
	p.send(&r.body, func() { s.server.regionMapped(r, p) }, r.memory)
	for _, piece := range r.pinned {
		s.offerPin(r, piece, p)
	}
}

// pinnedMax bounds what is remembered of the pieces of a region that are pinned.
const pinnedMax = 64

// offerPin has a standby pin a piece of a region that it has been offered.
func (s *session) offerPin(r *region, piece int, p *process) {
	if s.server.sup.mayPin() {
		p.send(&broker.Pin{Session: s.id, Region: r.body.Region, Piece: piece}, nil)
	}
}

// settle answers the grants that wait for the active process. Supervisor.mu is
// held.
func (r *region) settle(active *process) {
	if r.answer != nil && active != nil && r.mapped[active] {
		r.answer(&broker.Granted{})
		r.answer = nil
	}
}

// close lets go of what is kept. Supervisor.mu is held, if the session has been
// entered.
func (s *session) close() {
	for _, r := range s.regions {
		s.app.granted -= r.body.Bytes
		s.app.sup.granted -= r.body.Bytes
		if r.answer != nil {
			r.answer(broker.Refuse(broker.CodeDown, "session %d has ended", s.id))
		}
		r.memory.release()
	}
	s.regions = nil
	releaseAll([]*descriptor{s.client, s.segment, s.readOnly, s.doorbell})
	s.client, s.segment, s.readOnly, s.doorbell = nil, nil, nil, nil
}

// revoke ends the session in its segment, for a server that is not there to do
// it: the client's calls return. Supervisor.mu is held.
func (s *session) revoke(reason ipc.Reason) error {
	if s.client == nil {
		return nil
	}
	client, err := mapCopy(s.client.fd, s.geometry.ClientBytes(), false)
	if err != nil {
		return err
	}
	defer client.Close()
	segment, err := mapCopy(s.segment.fd, s.geometry.ServerBytes(), true)
	if err != nil {
		return err
	}
	defer segment.Close()
	side, err := ipc.NewSession(ipc.SessionConfig{
		ID: s.id, Geometry: s.geometry, Client: client.Mem, Server: segment.Mem, Doorbell: s.doorbell.fd,
	})
	if err != nil {
		return err
	}
	side.Fail(reason, "")
	side.WakeClient()
	return nil
}

func mapCopy(fd, size int, writable bool) (*shm.Segment, error) {
	fd, err := unix.Dup(fd)
	if err != nil {
		return nil, err
	}
	return shm.Open(fd, size, writable)
}
