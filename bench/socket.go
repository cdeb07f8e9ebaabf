package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// messageBytes is the size of a request and of a reply.
const messageBytes = 64

// serveSocket answers requests on a Unix socket, a goroutine for each
// connection, as Go programs do.
func serveSocket(t task) (any, error) {
	listener, err := net.Listen("unix", t.Socket)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answer(conn)
		}
	}()
	untilReleased()
	return nil, listener.Close()
}

// answer adds one to each word. It reads as many requests at once as have come,
// and answers them in one write.
func answer(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 64*messageBytes)
	have := 0
	for {
		n, err := conn.Read(buffer[have:])
		if err != nil {
			return
		}
		have += n
		whole := have - have%messageBytes
		for i := 0; i < whole; i += 8 {
			binary.NativeEndian.PutUint64(buffer[i:], binary.NativeEndian.Uint64(buffer[i:])+1)
		}
		if _, err := conn.Write(buffer[:whole]); err != nil {
			return
		}
		have = copy(buffer, buffer[whole:have])
	}
}

// callSocket calls from t.Callers goroutines, a connection for each. With a
// window of one each call is timed; with more, requests are pipelined.
func callSocket(t task) (any, error) {
	if t.Callers == 1 && t.Window == 1 {
		conn, err := net.Dial("unix", t.Socket)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		message := make([]byte, messageBytes)
		return timeRoundTrips(t.Duration, func() error {
			return callOnce(conn, message)
		})
	}
	return countCalls(t, func(stop func() bool) (int, error) {
		conn, err := net.Dial("unix", t.Socket)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		if t.Window > 1 {
			return pipeline(conn, t.Window, stop)
		}
		message := make([]byte, messageBytes)
		n := 0
		for ; !stop(); n++ {
			if err := callOnce(conn, message); err != nil {
				return n, err
			}
		}
		return n, nil
	})
}

func callOnce(conn net.Conn, message []byte) error {
	for i := 0; i < messageBytes; i += 8 {
		binary.NativeEndian.PutUint64(message[i:], uint64(i))
	}
	if _, err := conn.Write(message); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, message); err != nil {
		return err
	}
	return checkMessage(message)
}

func checkMessage(message []byte) error {
	for i := 0; i < messageBytes; i += 8 {
		if got := binary.NativeEndian.Uint64(message[i:]); got != uint64(i)+1 {
			return fmt.Errorf("word %d of the reply is %d", i/8, got)
		}
	}
	return nil
}

// pipeline keeps window requests in flight on one connection: a batch is
// written in one call, and as many are sent again as have been answered.
func pipeline(conn net.Conn, window int, stop func() bool) (int, error) {
	requests := make([]byte, window*messageBytes)
	for i := range window * messageBytes / 8 {
		binary.NativeEndian.PutUint64(requests[i*8:], uint64(i*8%messageBytes))
	}
	replies := make([]byte, window*messageBytes)
	have, n := 0, 0
	if _, err := conn.Write(requests); err != nil {
		return 0, err
	}
	for {
		got, err := conn.Read(replies[have:])
		if err != nil {
			return n, err
		}
		have += got
		whole := have - have%messageBytes
		for i := 0; i < whole; i += messageBytes {
			if err := checkMessage(replies[i : i+messageBytes]); err != nil {
				return n, err
			}
		}
		n += whole / messageBytes
		have = copy(replies, replies[whole:have])
		if stop() {
			return n, nil
		}
		if _, err := conn.Write(requests[:whole]); err != nil {
			return n, err
		}
	}
}

// countCalls runs call in t.Callers goroutines until the time is over, and
// returns the rate of all together. call returns the number of its requests.
func countCalls(t task, call func(stop func() bool) (int, error)) (any, error) {
	var (
		group  sync.WaitGroup
		counts = make([]int, t.Callers)
		errs   = make([]error, t.Callers)
	)
	start := time.Now()
	for i := range t.Callers {
		group.Go(func() {
			calls := 0
			counts[i], errs[i] = call(func() bool {
				calls++
				return calls%32 == 0 && time.Since(start) >= t.Duration
			})
		})
	}
	group.Wait()
	elapsed := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	return Result{PerSecond: float64(total) / elapsed.Seconds(), Requests: total}, nil
}

// socketPeer measures a Go client and server over a Unix socket.
func socketPeer(ctx context.Context, dir string, where placement, t task) (Result, error) {
	t.Socket = filepath.Join(dir, "socket.listen")
	_ = os.Remove(t.Socket)
	return measurePair(ctx, t, where, "socket-server", "socket-client", func() error {
		return waitForSocket(ctx, t.Socket)
	})
}

// waitForSocket returns when somebody listens at path.
func waitForSocket(ctx context.Context, path string) error {
	const retry = time.Millisecond
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the socket server: %w", err)
		case <-time.After(retry):
		}
	}
}

// measurePair starts a serving side, then a measuring one, and returns what the
// latter measured.
func measurePair(ctx context.Context, t task, where placement, server, client string, ready func() error) (result Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Duration+sideGrace)
	defer cancel()
	plain := t
	plain.wrap = nil
	serving, err := startSide(ctx, server, plain, where.server)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, serving.release()) }()
	if err := ready(); err != nil {
		return result, err
	}
	calling, err := startSide(ctx, client, t, where.client)
	if err != nil {
		return result, err
	}
	return result, calling.result(&result)
}
