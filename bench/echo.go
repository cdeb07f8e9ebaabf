package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/shm"
)

// echoBatchMax bounds the requests that one step takes from a session.
const echoBatchMax = 64

// echo is a server that adds one to each word of a request.
type echo struct{ sessions *ipc.Sessions }

// Step answers what has come.
func (e *echo) Step(time.Duration) (worked bool) {
	for _, s := range e.sessions.Active() {
		for range echoBatchMax {
			r, ok := s.Next()
			if !ok {
				break
			}
			for i := range r.Words {
				r.Words[i]++
			}
			s.Reply(r.Slot, &r.Words)
			worked = true
		}
	}
	return worked
}

// Descriptors passed to both sides of a session.
const (
	fileSocket = sideFilesFirst + iota // carries the client's segment
	fileServer                         // the server's segment; read-only for the client
	fileDoorbell
)

// serveSession is the side of the server.
func serveSession(t task) (any, error) {
	socket, err := packetConn(fileSocket)
	if err != nil {
		return nil, err
	}
	var packet [1]byte
	n, fds, err := unix.ReceivePacket(socket, packet[:], 4, true)
	if err != nil || n == 0 || len(fds) != 1 {
		return nil, fmt.Errorf("receive the client's segment: %d bytes, %d descriptors, %w", n, len(fds), err)
	}
	client, err := shm.Open(fds[0], t.Geometry.ClientBytes(), false)
	if err != nil {
		return nil, err
	}
	server, err := shm.Open(fileServer, t.Geometry.ServerBytes(), true)
	if err != nil {
		return nil, err
	}
	session, err := ipc.NewSession(ipc.SessionConfig{ID: 1, Geometry: t.Geometry,
		Client: client.Mem, Server: server.Mem, Doorbell: fileDoorbell})
	if err != nil {
		return nil, err
	}
	session.Attach(1)
	return serveEcho(t, session)
}

// serveEcho drives an echo server until it is released, and returns what the
// garbage collector took meanwhile if the task asks for that.
func serveEcho(t task, session *ipc.Session) (any, error) {
	core := &echo{sessions: ipc.NewSessions()}
	config := ipc.LoopConfig{Core: core, Sessions: core.sessions}
	if t.Sleeping {
		config.Spin = -1
	}
	loop, err := ipc.NewLoop(config)
	if err != nil {
		return nil, err
	}
	if err := loop.Add(session); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- bound(t.CPU, func() error { return loop.Run(ctx) }) }()
	var pauses any
	if t.Collect {
		pauses = collect(t)
	}
	untilReleased()
	cancel()
	return pauses, errors.Join(<-ended, session.Err(), loop.Close())
}

// callSession is the side of the client.
func callSession(t task) (any, error) {
	client, err := joinSession(t)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if t.Collect {
		return callAndCollect(t, client)
	}
	if t.Callers == 1 && t.Window == 1 {
		var result Result
		err := bound(t.CPU, func() (err error) {
			result, err = timeRoundTrips(t.Duration, func() error { return echoOnce(client) })
			return err
		})
		return result, err
	}
	return countCalls(t, func(stop func() bool) (n int, err error) {
		err = bound(t.CPU, func() (err error) {
			n, err = keepInFlight(client, t.Window, stop)
			return err
		})
		return n, err
	})
}

func joinSession(t task) (*ipc.Client, error) {
	own, err := shm.Create("bench", t.Geometry.ClientBytes(), shm.OneWriter)
	if err != nil {
		return nil, err
	}
	if err := ipc.FormatClient(own.Mem, t.Geometry); err != nil {
		return nil, err
	}
	server, err := shm.Open(fileServer, t.Geometry.ServerBytes(), false)
	if err != nil {
		return nil, err
	}
	socket, err := packetConn(fileSocket)
	if err != nil {
		return nil, err
	}
	if err := unix.SendPacket(socket, []byte{0}, own.FD); err != nil {
		return nil, err
	}
	config := ipc.ClientConfig{Geometry: t.Geometry, Client: own.Mem, Server: server.Mem, Doorbell: fileDoorbell}
	if t.Sleeping {
		config.Spin = -1
	}
	return ipc.NewClient(config)
}

func echoOnce(client *ipc.Client) error {
	request, reply := echoRequest, ipc.Words{}
	if err := client.Call(context.Background(), &request, &reply); err != nil {
		return err
	}
	return checkEcho(&reply)
}

var echoRequest = ipc.Words{1, 2, 3, 4, 5, 6, 7}

func checkEcho(reply *ipc.Words) error {
	for i, word := range reply {
		if word != echoRequest[i]+1 {
			return fmt.Errorf("word %d of the reply is %d", i, word)
		}
	}
	return nil
}

// keepInFlight has window requests in flight, waits for the oldest and starts
// another, until it is told to stop.
func keepInFlight(client *ipc.Client, window int, stop func() bool) (int, error) {
	ctx := context.Background()
	calls := make([]*ipc.Call, window)
	n := 0
	for stopping := false; ; n++ {
		call := &calls[n%window]
		if *call != nil {
			var reply ipc.Words
			if err := (*call).Wait(ctx, &reply); err != nil {
				return n, err
			}
			if err := checkEcho(&reply); err != nil {
				return n, err
			}
			*call = nil
		} else if stopping {
			return n - window, nil // all of them waited for
		}
		stopping = stopping || stop()
		if !stopping {
			request := echoRequest
			var err error
			if *call, err = client.Start(ctx, &request); err != nil {
				return n, err
			}
		}
	}
}

// sessionPair measures a client and an echo server in two processes.
func sessionPair(ctx context.Context, where placement, t task) (Result, error) {
	var result Result
	_, err := runSession(ctx, where, t, &result)
	return result, err
}

// runSession lets a client call an echo server, and returns what both printed.
func runSession(ctx context.Context, where placement, t task, result any) (served string, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Duration+sideGrace)
	defer cancel()
	t.Geometry = ipc.Geometry{Slots: max(64, t.Callers*t.Window)}
	segment, err := shm.Create("bench", t.Geometry.ServerBytes(), shm.Shared)
	if err != nil {
		return "", err
	}
	defer segment.Close()
	if err := ipc.FormatServer(segment.Mem, t.Geometry); err != nil {
		return "", err
	}
	readOnly, err := segment.ReadOnlyFD()
	if err != nil {
		return "", err
	}
	bell, err := unix.CreateEventfd()
	if err != nil {
		return "", err
	}
	near, far, err := unix.SocketPair()
	if err != nil {
		return "", err
	}
	files := map[string]*os.File{"writable": os.NewFile(uintptr(duplicate(segment.FD)), "server segment"),
		"readonly": os.NewFile(uintptr(readOnly), "server segment"), "bell": os.NewFile(uintptr(bell), "doorbell"),
		"near": near, "far": far}
	defer func() {
		for _, file := range files {
			_ = file.Close()
		}
	}()
	// With two processors only the threads that wait are bound, and each process
	// sees both processors; with one, the processes are bound as a whole.
	process := where
	if where.onTwo() {
		process = placement{where.name, anyCPU, anyCPU}
	}
	t.CPU = where.server
	plain := t
	plain.wrap = nil
	serving, err := startSide(ctx, "ipc-server", plain, process.server, near, files["writable"], files["bell"])
	if err != nil {
		return "", err
	}
	t.CPU = where.client
	calling, err := startSide(ctx, "ipc-client", t, process.client, far, files["readonly"], files["bell"])
	if err != nil {
		return "", errors.Join(err, serving.release())
	}
	err = calling.result(result)
	served, serveErr := serving.wait()
	return served, errors.Join(err, serveErr)
}

func duplicate(fd int) int {
	n, err := unix.Dup(fd)
	if err != nil {
		return -1
	}
	return n
}

func packetConn(fd int) (*net.UnixConn, error) {
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// bound runs f on a thread bound to cpu.
func bound(cpu int, f func() error) error {
	if cpu == anyCPU {
		return f()
	}
	runtime.LockOSThread()
	if err := unix.OneCPU(cpu).Set(); err != nil {
		return err
	}
	return f() // the goroutine ends with its thread still locked, which ends the thread
}
