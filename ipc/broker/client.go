package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
)

// ErrDisconnected: the supervisor's connection is gone, and with it
// all servers and sessions.
var ErrDisconnected = errors.New("broker: the supervisor has gone")

// ErrAbsent: no supervisor listens at the socket.
var ErrAbsent = errors.New("no supervisor listens")

// ErrForeign: the supervisor is another user's.
var ErrForeign = errors.New("the supervisor is another user's")

// askedMax bounds the questions of a Client that have no answer yet. The supervisor
// drops an application that lets more than some answers wait; the others wait here.
const askedMax = 64

// Client is an application's end: it pairs answers with questions. All methods
// may be called from any goroutine.
type Client struct {
	conn    *Conn
	told    func(Body)
	gone    chan struct{} // closed when the connection has ended
	sending chan struct{} // holds a token while somebody sends
	places  chan struct{} // holds a token for each of asked

	mu      sync.Mutex
	asked   map[uint64]*question
	lastRef uint64
	err     error // why the connection ended
}

// question is one that has no answer yet. It has one owner at a time: Ask, until it
// abandons it under Client.mu, and then the receiver.
type question struct {
	answer    chan answer // holds one, put in under Client.mu
	abandoned bool
}

type answer struct {
	message Message
	err     error
}

// NewClient connects to the supervisor's socket at path and greets. told, if not nil,
// is called with what the supervisor says unasked, one after the other: Ended, and to
// uplinks Lease and Release. Errors are ErrAbsent, *Refused and those of the system and of the context.
func NewClient(ctx context.Context, path string, hello Hello, told func(Body)) (*Client, error) {
	return newClient(ctx, path, hello, told, func(*Conn) error { return nil })
}

// NewOwnClient is NewClient for a path that nobody has named: others may have been
// there first, so it fails with ErrForeign unless the supervisor is root's or of this
// process's user.
func NewOwnClient(ctx context.Context, path string, hello Hello, told func(Body)) (*Client, error) {
	return newClient(ctx, path, hello, told, func(c *Conn) error {
		peer, err := unix.PeerOf(c.Socket())
		if err != nil {
			return fmt.Errorf("find out whose supervisor listens at %s: %w", path, err)
		}
		if peer.UID != 0 && int(peer.UID) != os.Geteuid() {
			return fmt.Errorf("%w: it is of uid %d, at %s; name its socket in QUINTET_SOCKET if it is to be trusted", ErrForeign, peer.UID, path)
		}
		return nil
	})
}

func newClient(ctx context.Context, path string, hello Hello, told func(Body), trust func(*Conn) error) (*Client, error) {
	conn, err := Dial(path)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w at %s: start one with `quintet up`, or name its socket in QUINTET_SOCKET", ErrAbsent, path)
	case err != nil:
		return nil, fmt.Errorf("connect to the supervisor at %s: %w", path, err)
	}
	if err := trust(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return NewClientOn(ctx, conn, hello, told)
}

// NewClientOn is NewClient over a connection that there is, which it takes over.
func NewClientOn(ctx context.Context, conn *Conn, hello Hello, told func(Body)) (*Client, error) {
	c := &Client{conn: conn, told: told, gone: make(chan struct{}), sending: make(chan struct{}, 1),
		places: make(chan struct{}, askedMax), asked: make(map[uint64]*question)}
	go c.receive()
	if _, err := c.Ask(ctx, &hello); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Ask sends a question and waits for its answer, whose descriptors are the
// caller's. While askedMax others wait for theirs it is not sent. Errors are *Refused,
// ErrDisconnected, ErrNoRoom, the context's, and the
// system's if the question could not be sent. When Ask returns, the question's
// descriptors have been sent or never will be. After the context's error nothing is
// left of the answer when it comes: its descriptors are closed, and a session that it
// brings is ended.
func (c *Client) Ask(ctx context.Context, body Body, fds ...int) (Message, error) {
	select {
	case c.places <- struct{}{}:
	case <-c.gone: // said below
	case <-ctx.Done():
		return Message{}, fmt.Errorf("wait to ask the supervisor: %w", ctx.Err())
	}
	q := &question{answer: make(chan answer, 1)}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return Message{}, c.err
	}
	c.lastRef++
	ref := c.lastRef
	c.asked[ref] = q
	c.mu.Unlock()
	if err := c.send(ctx, ref, body, fds...); err != nil && !Lost(err) {
		c.mu.Lock()
		c.settle(ref)
		c.mu.Unlock()
		return Message{}, err
	} // what is lost ends with c.end; a refusal may have been received before
	select {
	case a := <-q.answer:
		return a.message, a.err
	case <-ctx.Done():
		c.mu.Lock()
		q.abandoned = true
		c.mu.Unlock()
		select {
		case a := <-q.answer: // it came first
			c.undo(&a.message)
		default:
		}
		return Message{}, fmt.Errorf("wait for the supervisor: %w", ctx.Err())
	}
}

// send sends one message, unless the context or the connection ends first.
func (c *Client) send(ctx context.Context, ref uint64, body Body, fds ...int) error {
	select {
	case c.sending <- struct{}{}:
	case <-c.gone:
		return ErrDisconnected
	case <-ctx.Done():
		return fmt.Errorf("wait to ask the supervisor: %w", ctx.Err())
	}
	defer func() { <-c.sending }()
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.sock.SetWriteDeadline(time.Unix(1, 0))
		close(fired)
	})
	err := c.conn.Send(ref, body, fds...)
	if !stop() {
		<-fired
		_ = c.conn.sock.SetWriteDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("wait to ask the supervisor: %w", ctx.Err())
	}
	return err
}

// Lost tells whether a message could not be sent because the connection has ended.
func Lost(err error) bool {
	for _, each := range []error{ErrDisconnected, net.ErrClosed, syscall.EPIPE, syscall.ECONNRESET, syscall.ENOTCONN} {
		if errors.Is(err, each) {
			return true
		}
	}
	return false
}

func (c *Client) receive() {
	for {
		m, err := c.conn.Receive()
		if err != nil && !errors.Is(err, ErrNoRoom) {
			if err == io.EOF {
				err = nil
			}
			c.end(err)
			return
		}
		if _, refused := m.Body.(*Refused); m.Ref == 0 && !refused && c.told != nil {
			m.CloseFDs()
			c.told(m.Body)
			continue
		}
		if !c.deliver(m, err) {
			c.undo(&m)
		}
	}
}

// deliver passes an answer on, if somebody waits for it.
func (c *Client) deliver(m Message, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.settle(m.Ref)
	refused, is := m.Body.(*Refused)
	if is && q == nil && c.err == nil {
		c.err = refused // of the connection as a whole
	}
	if q == nil || q.abandoned {
		return false
	}
	switch {
	case err != nil: // it has come without its descriptors
		q.answer <- answer{err: err}
		return false
	case is:
		q.answer <- answer{err: refused}
	default:
		q.answer <- answer{message: m}
	}
	return true
}

// settle takes a question off the list; nil if it is not there. Client.mu is held.
func (c *Client) settle(ref uint64) *question {
	q := c.asked[ref]
	if q != nil {
		delete(c.asked, ref)
		<-c.places
	}
	return q
}

// undo ends what an answer has brought that nobody takes.
func (c *Client) undo(m *Message) {
	m.CloseFDs()
	if connected, is := m.Body.(*Connected); is {
		c.EndSession(connected.Session)
	}
}

// EndSession ends a session without waiting for it.
func (c *Client) EndSession(id uint64) {
	go func() {
		m, err := c.Ask(context.Background(), &Close{Session: id})
		if err == nil {
			m.CloseFDs()
		} // otherwise it has ended with the connection, or before
	}()
}

func (c *Client) end(cause error) {
	_ = c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = ErrDisconnected
		if cause != nil {
			c.err = fmt.Errorf("%w: %w", ErrDisconnected, cause)
		}
	}
	for ref, q := range c.asked {
		q.answer <- answer{err: c.err}
		delete(c.asked, ref)
	}
	close(c.gone)
}

// Tell sends what has no answer.
func (c *Client) Tell(body Body) error { return c.send(context.Background(), 0, body) }

// Gone is closed when the connection has ended.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Close ends the connection, and with it every session of this application.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.gone
	return err
}
