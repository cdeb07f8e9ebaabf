package supervisor

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
)

// answersMax bounds the messages that wait for an application to read them. One
// that reads so slowly loses its connection.
const answersMax = 128

// helloMax is the time that an application gets to greet after it has connected.
const helloMax = 5 * time.Second

// application is one connection from an application.
type application struct {
	sup   *Supervisor
	conn  *broker.Conn
	peer  unix.Peer
	pidfd *unix.Pidfd
	// uplink is set if this is the process of a declared uplink.
	uplink *uplink

	// Guarded by Supervisor.mu.
	name     string
	domain   string
	greeted  bool
	sessions map[uint64]*session
	granted  int64 // bytes
	gone     bool
	mute     bool // it does not read its answers, and has to go
	silent   bool // answers is closed

	answers  chan answer
	disposal disposal // of what it has handed over, and of its connection
	end      sync.Once
}

type answer struct {
	ref   uint64
	body  broker.Body
	files []*descriptor
}

// admit starts the handling of a new connection, or refuses it.
func (s *Supervisor) admit(conn *broker.Conn) {
	peer, err := unix.PeerOf(conn.Socket())
	pidfd := peerPidfd(conn)
	if err != nil || pidfd == nil { // it has gone already
		s.refused.put(func() { _ = conn.Close() })
		return
	}
	app := &application{
		sup: s, conn: conn, peer: peer, pidfd: pidfd,
		sessions: make(map[uint64]*session), answers: make(chan answer, answersMax),
	}
	s.mu.Lock()
	refusal := broker.Refuse(broker.CodeDown, "the system is being shut down")
	if !s.ending {
		refusal = s.kept.enter(peer.UID)
	}
	if refusal == nil {
		s.applications[app] = true
		_ = conn.Socket().SetReadDeadline(time.Now().Add(s.helloMax)) // serve notices a broken connection
	}
	s.mu.Unlock()
	if refusal != nil {
		_, _ = conn.TrySend(0, refusal)
		_ = pidfd.Close()
		s.refused.put(func() { _ = conn.Close() })
		return
	}
	app.start()
}

// start handles the messages of an application until it ends.
func (a *application) start() {
	go a.answer()
	go a.serve()
	go func() {
		if a.pidfd.Wait() == nil {
			a.leave() // even if a child has inherited the socket
		}
	}()
}

// serve handles the application's messages, one after the other, until it closes
// or breaks the protocol.
func (a *application) serve() {
	defer a.leave()
	for {
		m, err := a.conn.Receive()
		switch {
		case errors.Is(err, broker.ErrVersion):
			a.refuseAndClose(m.Ref, broker.Refuse(broker.CodeVersion,
				"%v; use the same release of Quintet for the application and for `quintet up`", err))
			return
		case errors.Is(err, broker.ErrNoRoom):
			slog.Error("receive a message", "pid", a.peer.PID, "uid", a.peer.UID, "err", err)
			a.sup.mu.Lock()
			a.reply(m.Ref, broker.Refuse(broker.CodeLimit, "the supervisor has no room for more descriptors; try again later"))
			a.sup.mu.Unlock()
			continue
		case errors.Is(err, broker.ErrMalformed):
			a.refuseAndClose(m.Ref, broker.Refuse(broker.CodeMalformed, "%v", err))
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			a.refuseAndClose(0, broker.Refuse(broker.CodeMalformed, "no hello has come in time"))
			return
		case err != nil:
			return
		}
		refusal := a.handle(&m)
		a.discard(m.FDs)
		if refusal == nil {
			continue
		}
		refused := asRefusal(refusal)
		if refused.Code == broker.CodeMalformed {
			a.refuseAndClose(m.Ref, refused)
			return
		}
		a.sup.mu.Lock()
		a.reply(m.Ref, refused)
		a.sup.mu.Unlock()
	}
}

func asRefusal(err error) *broker.Refused {
	var refused *broker.Refused
	if !errors.As(err, &refused) {
		refused = broker.Refuse(broker.CodeInternal, "%v", err)
	}
	return refused
}

// refuseAndClose sends the last message of a connection. It does not wait for a
// peer that does not read: the socket's queue is empty, or the peer's fault.
func (a *application) refuseAndClose(ref uint64, r *broker.Refused) {
	slog.Warn("application refused", "pid", a.peer.PID, "uid", a.peer.UID, "reason", r.Reason)
	_ = a.conn.Send(ref, r)
}

// handle does what a message asks for. A returned error is the answer; it takes
// the descriptors that it uses out of m.
func (a *application) handle(m *broker.Message) error {
	switch body := m.Body.(type) {
	case *broker.Connect:
		return a.connect(m, body)
	case *broker.Grant:
		return a.grant(m, body)
	case *broker.Control:
		if body.Verb == VerbState {
			return a.reportState(m.Ref)
		}
	}
	a.sup.mu.Lock()
	defer a.sup.mu.Unlock()
	if hello, ok := m.Body.(*broker.Hello); ok && !a.greeted {
		return a.hello(m.Ref, hello)
	}
	if err := a.mayAsk(); err != nil {
		return err
	}
	switch body := m.Body.(type) {
	case *broker.Close:
		return a.closeSession(m.Ref, body)
	case *broker.Control:
		return a.control(m.Ref, body)
	case *broker.Capturing:
		return a.capture(m, body)
	case *broker.Leased:
		return a.leased(body)
	case *broker.Ready:
		if a.uplink != nil {
			a.uplink.degraded = body.Degraded
			return nil
		}
	case *broker.AskResolvers:
		if a.uplink != nil {
			return a.tellResolvers(m.Ref)
		}
	case *broker.Resolve:
		return a.resolve(m.Ref, body)
	}
	return broker.Refuse(broker.CodeMalformed, "an application must not send this message")
}

// mayAsk says why an application may ask for nothing now. Supervisor.mu is held.
func (a *application) mayAsk() error {
	switch {
	case !a.greeted:
		return broker.Refuse(broker.CodeMalformed, "the first message must be hello")
	case a.gone:
		return broker.Refuse(broker.CodeDown, "the connection is over")
	case a.sup.ending:
		return broker.Refuse(broker.CodeDown, "the system is being shut down")
	}
	return nil
}

// own keeps a descriptor that has been counted. The count ends when it is closed.
func (a *application) own(fd int) *descriptor {
	return newDescriptor(fd, &a.disposal, func() { a.giveBack(1) })
}

func (a *application) giveBack(n int) {
	a.sup.mu.Lock()
	defer a.sup.mu.Unlock()
	a.sup.kept.give(a.peer.UID, n)
	a.sup.changed.Broadcast()
}

// discard closes what came with a message and is of no use. It waits for that, so
// that an application has no more than one message's descriptors in the way of being
// closed beside those that are counted.
func (a *application) discard(fds []int) {
	if len(fds) == 0 {
		return
	}
	closed := make(chan struct{})
	a.disposal.put(func() {
		unix.CloseAll(fds)
		close(closed)
	})
	<-closed
}

func (a *application) hello(ref uint64, h *broker.Hello) error {
	if err := broker.CheckName(h.Name); err != nil {
		return broker.Refuse(broker.CodeMalformed, "%v", err)
	}
	a.name = h.Name
	if h.Domain != "" {
		d := a.sup.tokens[h.Domain]
		if d == nil {
			return broker.Refuse(broker.CodeMalformed, "%s names no running domain; start the program with `quintet run`", broker.DomainVariable)
		}
		a.name, a.domain = d.name, d.name
	}
	if err := a.conn.Socket().SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if err := unix.PassDescriptors(a.conn.Socket(), true); err != nil {
		return err
	}
	a.greeted = true
	a.reply(ref, &broker.Welcome{SupervisorPID: os.Getpid()})
	return nil
}

func (a *application) grant(m *broker.Message, g *broker.Grant) error {
	malformed := checkRegion(g, m.FDs[0])
	a.sup.mu.Lock()
	defer a.sup.mu.Unlock()
	if err := a.mayAsk(); err != nil {
		return err
	}
	s := a.sessions[g.Session]
	if s == nil || s.dropping != nil {
		return broker.Refuse(broker.CodeNotFound, "this application has no session %d", g.Session)
	}
	if malformed != nil {
		return malformed
	}
	if err := s.mayGrant(g); err != nil {
		return err
	}
	if refusal := s.server.crowded(); refusal != nil {
		return refusal
	}
	if refusal := a.sup.kept.take(a.peer.UID, 1); refusal != nil {
		return refusal
	}
	if refusal := s.server.room.take(a.peer.UID, a.sup.kept.privileged(a.peer.UID), 0, regionMappings); refusal != nil {
		a.sup.kept.give(a.peer.UID, 1)
		return refusal
	}
	r := s.grant(g, a.own(m.FDs[0]))
	m.FDs = nil
	ref := m.Ref
	r.answer = func(body broker.Body) { a.reply(ref, body) }
	for _, p := range s.server.processes() {
		s.offerRegion(r, p)
	}
	return nil
}

func (a *application) closeSession(ref uint64, c *broker.Close) error {
	s := a.sessions[c.Session]
	if s == nil || s.dropping != nil {
		return broker.Refuse(broker.CodeNotFound, "this application has no session %d", c.Session)
	}
	s.end(func() { a.reply(ref, &broker.Closed{}) })
	return nil
}

// tell sends a message nobody asked for.
func (a *application) tell(body broker.Body) { a.reply(0, body) }

// reply queues an answer and takes its files over. It never blocks. Supervisor.mu is
// held.
func (a *application) reply(ref uint64, body broker.Body, files ...*descriptor) {
	if a.silent {
		releaseAll(files)
		return
	}
	select {
	case a.answers <- answer{ref: ref, body: body, files: files}:
	default:
		releaseAll(files)
		if !a.mute {
			a.mute = true
			slog.Warn("application does not read its answers", "name", a.name, "pid", a.peer.PID)
			go a.leave()
		}
	}
}

func (a *application) answer() {
	for m := range a.answers {
		err := a.conn.Send(m.ref, m.body, numbers(m.files)...)
		releaseAll(m.files)
		if err != nil && !broker.Lost(err) { // serve notices a broken connection
			_ = a.conn.Send(m.ref, broker.Refuse(broker.CodeInternal, "the answer cannot be sent: %v", err))
		}
	}
}

// leave ends everything of an application that has gone, or has to go. Nothing of it
// waits for the application: not even the closing of its connection, which may hold
// descriptors that nobody has received.
func (a *application) leave() {
	a.end.Do(func() {
		a.disposal.put(func() { _ = a.conn.Close() })
		a.sup.mu.Lock()
		defer a.sup.mu.Unlock()
		_ = a.pidfd.Close()
		for _, s := range a.sessions {
			if s.dropping == nil {
				s.end(a.forget)
			} else {
				s.dropping.told = a.forget
			}
		}
		for _, each := range a.sup.servers {
			each.service.left(a)
		}
		a.gone = true
		a.forget()
		for token, d := range a.sup.tokens {
			if d.app == a {
				go d.end()
				delete(a.sup.tokens, token)
			}
		}
	})
}

// forget removes an application whose last session has ended. Its place becomes free
// when everything it has handed over is closed. Supervisor.mu is held.
func (a *application) forget() {
	if a.gone && len(a.sessions) == 0 && a.sup.applications[a] {
		delete(a.sup.applications, a)
		a.disposal.put(func() {
			a.sup.mu.Lock()
			defer a.sup.mu.Unlock()
			a.sup.kept.leave(a.peer.UID)
			a.sup.changed.Broadcast()
		})
		a.silent = true
		close(a.answers)
		a.sup.changed.Broadcast()
	}
}
