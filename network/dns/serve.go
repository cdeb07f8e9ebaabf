package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// inFlightMax bounds the queries of one asker that are answered at once.
const inFlightMax = 8

// Dial returns a connection to a itself, in this process. It is for
// net.Resolver{PreferGo: true, Dial: a.Dial}: network and address, which would be those
// of a resolver of the host, do not matter.
func (a *Answerer) Dial(_ context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer far.Close()
		a.ServeStream(ctx, far, 0)
	}()
	return &inner{Conn: near, cancel: cancel}, nil
}

// inner is the asker's end of a connection within the process. That it is no
// net.PacketConn tells the resolver of package net to treat it as a stream.
type inner struct {
	net.Conn
	cancel context.CancelFunc
}

func (i *inner) Close() error {
	i.cancel()
	return i.Conn.Close()
}

// ServeStream answers queries, each of which follows its length (RFC 1035, 4.2.2), one
// after the other, until the asker closes, none has come for idle (0: any time is fine),
// or an error of the connection or a message that is no query ends it. The connection is
// the caller's to close.
func (a *Answerer) ServeStream(ctx context.Context, c net.Conn, idle time.Duration) {
	for ctx.Err() == nil {
		if idle > 0 {
			_ = c.SetReadDeadline(time.Now().Add(idle))
		}
		message, err := receiveStream(c)
		if err != nil {
			return
		}
		reply := a.Answer(ctx, message)
		if reply == nil {
			return
		}
		if idle > 0 {
			_ = c.SetWriteDeadline(time.Now().Add(idle))
		}
		if err := sendStream(c, reply); err != nil {
			return
		}
	}
}

// ServeDatagrams answers the queries of one asker, several at once, until none has come
// for idle, or ctx ends, or the connection fails. The connection is the caller's to
// close.
func (a *Answerer) ServeDatagrams(ctx context.Context, c net.Conn, idle time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	places := make(chan struct{}, inFlightMax)
	var running sync.WaitGroup
	defer running.Wait()
	for buffer := make([]byte, queryBytesMax+1); ctx.Err() == nil; {
		_ = c.SetReadDeadline(time.Now().Add(idle))
		if ctx.Err() != nil { // its end may have set a deadline before this one
			return
		}
		n, err := c.Read(buffer)
		if err != nil {
			return
		}
		message := append([]byte(nil), buffer[:n]...)
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			if reply := a.AnswerDatagram(ctx, message); reply != nil {
				_, _ = c.Write(reply) // a datagram may be lost
			}
		})
	}
}

func receiveStream(c io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(c, message)
	return message, err
}

func sendStream(c io.Writer, message []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}
