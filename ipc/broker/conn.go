package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
)

// Message is a received message. Its descriptors are the receiver's to close.
type Message struct {
	// Ref pairs an answer with its question; zero in a message that is neither.
	Ref  uint64
	Body Body
	FDs  []int
}

// CloseFDs closes the descriptors that are left.
func (m *Message) CloseFDs() {
	unix.CloseAll(m.FDs)
	m.FDs = nil
}

type envelope struct {
	Version int             `json:"v"`
	Kind    Kind            `json:"kind"`
	Ref     uint64          `json:"ref,omitempty"`
	Body    json.RawMessage `json:"body"`
}

// Conn is one end of a control connection.
type Conn struct {
	sock *net.UnixConn
	most int // descriptors of a message
	buf  [MessageMax]byte
}

// Dial connects to a supervisor's socket. It does not wait: a supervisor whose
// queue is full is reported as EAGAIN.
func Dial(path string) (*Conn, error) {
	sock, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return NewConn(sock), nil
}

// NewConn takes over a connected socket.
func NewConn(sock *net.UnixConn) *Conn { return &Conn{sock: sock, most: descriptorsMax} }

// NewApplicationConn is NewConn for the supervisor's end of an application's
// connection: no message that comes has more than one descriptor.
func NewApplicationConn(sock *net.UnixConn) *Conn { return &Conn{sock: sock, most: 1} }

// descriptorsMax bounds the descriptors of a message.
const descriptorsMax = 3

// FileConn returns the end whose descriptor is f, which it closes.
func FileConn(f *os.File) (*Conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("broker: use descriptor %s: %w", f.Name(), err)
	}
	sock, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("broker: descriptor %s is not a Unix socket", f.Name())
	}
	return NewConn(sock), nil
}

// Pair returns a connected pair: one end here, the other to pass to a child.
func Pair() (*Conn, *os.File, error) {
	here, there, err := unix.SocketPair()
	if err != nil {
		return nil, nil, err
	}
	c, err := FileConn(here)
	if err != nil {
		_ = there.Close()
		return nil, nil, err
	}
	return c, there, nil
}

// Send sends one message with its descriptors, which stay the caller's. It
// blocks while the peer's queue is full; Close ends that.
func (c *Conn) Send(ref uint64, body Body, fds ...int) error {
	return c.send(ref, body, fds, unix.SendPacket)
}

// TrySend is Send that does not block: false when the peer's queue is full.
func (c *Conn) TrySend(ref uint64, body Body, fds ...int) (sent bool, err error) {
	err = c.send(ref, body, fds, unix.TrySendPacket)
	if errors.Is(err, syscall.EAGAIN) {
		return false, nil
	}
	return err == nil, err
}

func (c *Conn) send(ref uint64, body Body, fds []int, send func(*net.UnixConn, []byte, ...int) error) error {
	kind := body.kind()
	if want := forms[kind].descriptors; len(fds) != want {
		return fmt.Errorf("broker: send %s with %d descriptors, need %d", kind, len(fds), want)
	}
	p, err := encode(ref, body)
	if err != nil {
		return err
	}
	if err := send(c.sock, p, fds...); err != nil {
		return fmt.Errorf("broker: send %s: %w", kind, err)
	}
	return nil
}

// Receive waits for the next message. It returns io.EOF when the peer has
// closed, ErrVersion and ErrMalformed when the peer breaks the protocol, and
// ErrNoRoom; with the last three Ref may still be set, for a refusal. With ErrNoRoom
// the message is whole but for its descriptors.
func (c *Conn) Receive() (Message, error) {
	n, fds, err := unix.ReceivePacket(c.sock, c.buf[:], c.most, true)
	if errors.Is(err, syscall.ECONNRESET) {
		// A peer that closes before it has read everything leaves this error, once,
		// in front of what it had sent: its refusal, perhaps.
		n, fds, err = unix.ReceivePacket(c.sock, c.buf[:], c.most, true)
	}
	switch {
	case errors.Is(err, unix.ErrTruncated):
		return Message{}, fmt.Errorf("%w: over %d bytes, or too many descriptors", ErrMalformed, MessageMax)
	case errors.Is(err, unix.ErrEmpty):
		return Message{}, fmt.Errorf("%w: it is empty", ErrMalformed)
	case errors.Is(err, unix.ErrNoRoom):
		m, err := decode(c.buf[:n], nil, false)
		if err == nil {
			err = ErrNoRoom
		}
		return m, err
	case errors.Is(err, syscall.ECONNRESET), err == nil && n == 0:
		return Message{}, io.EOF
	case err != nil:
		return Message{}, err
	}
	m, err := decode(c.buf[:n], fds, true)
	if err != nil {
		unix.CloseAll(fds)
		m.FDs = nil
	}
	return m, err
}

// WaitReadable blocks the calling thread in the kernel until Receive would not
// wait.
func (c *Conn) WaitReadable() error { return unix.WaitReadable(c.sock) }

// Socket returns the socket, for the peer's credentials.
func (c *Conn) Socket() *net.UnixConn { return c.sock }

// Close ends the connection and every call on it.
func (c *Conn) Close() error { return c.sock.Close() }

func encode(ref uint64, body Body) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("broker: encode %s: %w", body.kind(), err)
	}
	p, err := json.Marshal(envelope{Version: Version, Kind: body.kind(), Ref: ref, Body: raw})
	if err == nil && len(p) > MessageMax {
		err = fmt.Errorf("broker: %s is %d bytes long, at most %d are allowed", body.kind(), len(p), MessageMax)
	}
	return p, err
}

// decode checks the form of a message; with counted, the number of its descriptors too.
func decode(p []byte, fds []int, counted bool) (Message, error) {
	var e envelope
	if err := json.Unmarshal(p, &e); err != nil {
		return Message{}, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	m := Message{Ref: e.Ref, FDs: fds}
	if e.Version != Version {
		return m, fmt.Errorf("%w: it speaks %d, this is %d", ErrVersion, e.Version, Version)
	}
	f, ok := forms[e.Kind]
	if !ok {
		return m, fmt.Errorf("%w: unknown kind %q", ErrMalformed, e.Kind)
	}
	if counted && len(fds) != f.descriptors {
		return m, fmt.Errorf("%w: %s with %d descriptors, need %d", ErrMalformed, e.Kind, len(fds), f.descriptors)
	}
	body := f.body()
	// Fields that this release does not know are those of a later one, and ignored.
	if err := json.Unmarshal(e.Body, body); err != nil {
		return m, fmt.Errorf("%w: %s: %v", ErrMalformed, e.Kind, err)
	}
	if shown, is := body.(interface{ makePrintable() }); is {
		shown.makePrintable()
	}
	m.Body = body
	return m, nil
}
