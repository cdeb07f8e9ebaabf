package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
)

// ErrDisconnected: the supervisor's connection is gone, and with it
// all servers and sessions.
var ErrDisconnected = errors.New("broker: the supervisor has gone")

// ErrAbsent: no supervisor listens at the socket.
var ErrAbsent = errors.New("no supervisor listens")

// ErrForeign: the supervisor is another user's.
var ErrForeign = errors.New("the supervisor is another user's")

// Client is an application's end: it pairs answers with questions. All methods
// may be called from any goroutine.
type Client struct {
	conn *Conn
	told func(Body)
	gone chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	asked   map[uint64]chan Message
	lastRef uint64
	err     error // why the connection ended
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
	c := &Client{conn: conn, told: told, gone: make(chan struct{}), asked: make(map[uint64]chan Message)}
	go c.receive()
	if _, err := c.Ask(ctx, &hello); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Ask sends a question and waits for its answer, whose descriptors are the
// caller's. Errors are *Refused, ErrDisconnected and the context's; after the
// last the answer is thrown away when it comes.
func (c *Client) Ask(ctx context.Context, body Body, fds ...int) (Message, error) {
	answer := make(chan Message, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return Message{}, c.err
	}
	c.lastRef++
	ref := c.lastRef
	c.asked[ref] = answer
	c.mu.Unlock()
	if err := c.conn.Send(ref, body, fds...); err != nil {
		// A refusal may have been received before the connection broke.
		<-c.gone
	}
	select {
	case m, ok := <-answer:
		if !ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			return Message{}, c.err
		}
		if refused, is := m.Body.(*Refused); is {
			return Message{}, refused
		}
		return m, nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.asked, ref)
		c.mu.Unlock()
		return Message{}, fmt.Errorf("wait for the supervisor: %w", ctx.Err())
	}
}

func (c *Client) receive() {
	for {
		m, err := c.conn.Receive()
		if err != nil {
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
		c.mu.Lock()
		answer := c.asked[m.Ref]
		delete(c.asked, m.Ref)
		if refused, is := m.Body.(*Refused); is && answer == nil && c.err == nil {
			c.err = refused // of the connection as a whole
		}
		c.mu.Unlock()
		if answer == nil {
			m.CloseFDs()
			continue
		}
		answer <- m
	}
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
	for ref, answer := range c.asked {
		close(answer)
		delete(c.asked, ref)
	}
	close(c.gone)
}

// Tell sends what has no answer.
func (c *Client) Tell(body Body) error { return c.conn.Send(0, body) }

// Gone is closed when the connection has ended.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Close ends the connection, and with it every session of this application.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.gone
	return err
}
