package storagetest

import (
	"context"
	"errors"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage/client"
	"github.com/quintet-os/quintet/storage/server"
)

// Sizes of a session made here.
const (
	Slots       = 64
	BufferBytes = 8 << 20
)

// Grant gives a session a volume, by its place among the server's.
type Grant struct {
	Volume   int
	ReadOnly bool
}

// Session is one client of the server.
type Session struct {
	ID      uint64
	IPC     *ipc.Client
	Client  *client.Session
	Volumes []*client.Volume // by grant
	Served  *ipc.Session     // the server's side, of the present incarnation

	geometry                ipc.Geometry
	grants                  []Grant
	client, server, buffers []byte
	doorbell                int
}

// Connect adds a client.
func (s *Server) Connect(grants ...Grant) *Session {
	s.t.Helper()
	g := ipc.Geometry{Slots: Slots}
	session := &Session{
		ID: uint64(len(s.sessions) + 1), geometry: g, grants: grants,
		// Of this size the Go heap aligns to pages.
		client: make([]byte, g.ClientBytes()), server: make([]byte, g.ServerBytes()),
	}
	err := session.open()
	if err != nil {
		s.t.Fatal(err)
	}
	s.On(func() { err = s.serve(session) })
	if err != nil {
		s.t.Fatal(err)
	}
	s.sessions = append(s.sessions, session)
	session.Client = client.New(session.IPC, Slots, client.NewBuffers(0, session.buffers))
	for handle := range grants {
		v, err := session.Client.Volume(context.Background(), handle)
		if err != nil {
			s.t.Fatal(err)
		}
		session.Volumes = append(session.Volumes, v)
	}
	return session
}

func (c *Session) open() error {
	var err error
	if c.buffers, err = unix.MapAnonymous(BufferBytes); err != nil {
		return err
	}
	if c.doorbell, err = unix.CreateEventfd(); err != nil {
		return err
	}
	if err := errors.Join(ipc.FormatClient(c.client, c.geometry), ipc.FormatServer(c.server, c.geometry)); err != nil {
		return err
	}
	c.IPC, err = ipc.NewClient(ipc.ClientConfig{Geometry: c.geometry, Client: c.client, Server: c.server, Doorbell: c.doorbell})
	return err
}

// serve attaches a session to the present incarnation, on its thread.
func (s *Server) serve(session *Session) error {
	served, err := ipc.NewSession(ipc.SessionConfig{ID: session.ID, Geometry: session.geometry,
		Client: session.client, Server: session.server, Doorbell: session.doorbell})
	if err != nil {
		return err
	}
	served.Attach(s.generation)
	served.AddRegion(&ipc.Region{ID: 0, Mem: session.buffers, Writable: true})
	session.Served = served
	var grants []server.Grant
	for _, g := range session.grants {
		grants = append(grants, server.Grant{Volume: s.Volumes[g.Volume], ReadOnly: g.ReadOnly})
	}
	s.Core.AddSession(served, grants, s.limits)
	return s.loop.Add(served)
}

// close ends a session that no server serves any more. Its memory stays mapped:
// calls that were given up may still have it.
func (c *Session) close() {
	_ = c.IPC.Close()
	_ = unix.Close(c.doorbell)
}
