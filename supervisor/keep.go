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
	// regionsMax bounds the regions of one session.
	regionsMax = 64
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
	port     *port           // nil for a session with a storage server
	geometry ipc.Geometry
	// Descriptors of the client segment, the server segment (writable) and the
	// doorbell.
	client, segment, doorbell int
	regions                   map[int]*region
	failed                    string // why the server ended it
	// holders are the processes that have been handed the session. used tells whether
	// one of them has served it, so that a device may write to its memory.
	holders  map[*process]bool
	used     bool
	dropping *ending // nil unless the session ends
}

// region is granted payload memory.
type region struct {
	body   broker.Region
	fd     int
	pinned bool              // by an active server; standbys do the same
	mapped map[*process]bool // processes that have said so
	// granted answers the application once the active process has mapped it.
	granted func()
}

// newSession makes the supervisor's part of a session around a client's segment,
// which it takes over. The result's descriptors for the client are its own
// read-only description of the server segment, which the caller closes, and the
// doorbell, which stays kept.
func newSession(id uint64, g ipc.Geometry, clientFD int) (s *session, readOnlyFD int, err error) {
	if err := g.Check(); err != nil {
		unix.CloseAll([]int{clientFD})
		return nil, -1, broker.Refuse(broker.CodeLimit, "%v", err)
	}
	if err := checkClientSegment(clientFD, g.ClientBytes()); err != nil {
		unix.CloseAll([]int{clientFD})
		return nil, -1, err
	}
	s = &session{
		id: id, geometry: g, client: clientFD, segment: -1, doorbell: -1,
		regions: make(map[int]*region), holders: make(map[*process]bool),
	}
	fail := func(err error) (*session, int, error) {
		s.close()
		return nil, -1, broker.Refuse(broker.CodeInternal, "make a session: %v", err)
	}
	segment, err := shm.Create(fmt.Sprintf("quintet-session-%d", id), g.ServerBytes(), shm.Shared)
	if err != nil {
		return fail(err)
	}
	s.segment = segment.FD
	err = ipc.FormatServer(segment.Mem, g)
	if err == nil {
		readOnlyFD, err = segment.ReadOnlyFD()
	}
	if unmapErr := unix.Unmap(segment.Mem); err == nil {
		err = unmapErr
	}
	if err != nil {
		return fail(err)
	}
	if s.doorbell, err = unix.CreateEventfd(); err != nil {
		unix.CloseAll([]int{readOnlyFD})
		return fail(err)
	}
	return s, readOnlyFD, nil
}

func checkClientSegment(fd, size int) error {
	if err := shm.Check(fd, size, shm.OneWriter); err != nil {
		return broker.Refuse(broker.CodeMemory, "the client segment: %v", err)
	}
	return nil
}

// grant checks and keeps a region; it takes fd over.
func (s *session) grant(g *broker.Grant, fd int) (*region, error) {
	refuse := func(err error) (*region, error) {
		unix.CloseAll([]int{fd})
		return nil, err
	}
	switch {
	case g.Region < 0 || g.Region >= regionsMax:
		return refuse(broker.Refuse(broker.CodeLimit, "region %d is out of range: a session has regions 0 to %d", g.Region, regionsMax-1))
	case s.regions[g.Region] != nil:
		return refuse(broker.Refuse(broker.CodeLimit, "region %d is already granted", g.Region))
	case g.Bytes <= 0 || g.Bytes > grantedMax-s.app.granted:
		return refuse(broker.Refuse(broker.CodeLimit, "a region of %d bytes: this application may grant %d more", g.Bytes, grantedMax-s.app.granted))
	}
	kind := shm.OneWriter
	if g.Writable {
		kind = shm.Shared
	}
	if err := shm.Check(fd, int(g.Bytes), kind); err != nil {
		return refuse(broker.Refuse(broker.CodeMemory, "region %d: %v", g.Region, err))
	}
	r := &region{
		body: broker.Region{
			Session: s.id, Region: g.Region, Bytes: g.Bytes,
			Writable: g.Writable, Delegable: g.Delegable,
		},
		fd: fd, mapped: make(map[*process]bool),
	}
	s.regions[g.Region] = r
	s.app.granted += g.Bytes
	return r, nil
}

// offer hands the session and its regions to a process. Supervisor.mu is held.
func (s *session) offer(p *process) {
	s.holders[p] = true
	s.used = s.used || p == s.server.active
	s.server.adjustMemory()
	p.send(&broker.Session{
		ID: s.id, Client: s.app.name, Terms: s.terms, Geometry: s.geometry,
	}, nil, false, s.client, s.segment, s.doorbell)
	for _, r := range s.regions {
		s.offerRegion(r, p)
	}
}

func (s *session) offerRegion(r *region, p *process) {
	s.server.adjustMemory()
	p.send(&r.body, func() { s.server.regionMapped(r, p) }, false, r.fd)
	if r.pinned {
		s.offerPin(r, p)
	}
}

// offerPin has a standby pin a region that it has been offered.
func (s *session) offerPin(r *region, p *process) {
	if s.server.sup.mayPin() {
		p.send(&broker.Pin{Session: s.id, Region: r.body.Region}, nil, false)
	}
}

// settle answers the grants that wait for the active process. Supervisor.mu is
// held.
func (r *region) settle(active *process) {
	if r.granted != nil && active != nil && r.mapped[active] {
		answer := r.granted
		r.granted = nil
		answer()
	}
}

// close closes the kept descriptors.
func (s *session) close() {
	closed := len(s.regions)
	for _, r := range s.regions {
		s.app.granted -= r.body.Bytes
		unix.CloseAll([]int{r.fd})
	}
	s.regions = nil
	for _, fd := range []int{s.client, s.segment, s.doorbell} {
		if fd >= 0 {
			unix.CloseAll([]int{fd})
			closed++
		}
	}
	if s.app != nil {
		s.app.sup.kept.give(s.app.peer.UID, closed)
	}
	s.client, s.segment, s.doorbell = -1, -1, -1
}

// revoke ends the session in its segment, for a server that is not there to do
// it: the client's calls return. Supervisor.mu is held.
func (s *session) revoke(reason ipc.Reason) error {
	if s.client < 0 {
		return nil
	}
	client, err := mapCopy(s.client, s.geometry.ClientBytes(), false)
	if err != nil {
		return err
	}
	defer client.Close()
	segment, err := mapCopy(s.segment, s.geometry.ServerBytes(), true)
	if err != nil {
		return err
	}
	defer segment.Close()
	side, err := ipc.NewSession(ipc.SessionConfig{
		ID: s.id, Geometry: s.geometry, Client: client.Mem, Server: segment.Mem, Doorbell: s.doorbell,
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
