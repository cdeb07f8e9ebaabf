package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/quintet-os/quintet/app"
)

const (
	// Services of the program that traffic goes to, by TCP port.
	sinkPort  = 7001 // reads to the end, then tells how much it was
	echoPort  = 7002 // sends back messages of messageBytes
	readyPort = 7003 // closes when the other end does

	// streamChunkBytes is what is written and read at once: the default of iperf3.
	streamChunkBytes = 128 << 10
	// dialWait bounds the time until the other program listens.
	dialWait  = 10 * time.Second
	dialRetry = 2 * time.Millisecond
)

// ProgramNetwork is what the two programs that exchange traffic need.
type ProgramNetwork interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	Listen(network, address string) (net.Listener, error)
}

// Member is a program that joins a network.
type Member struct {
	Program int    // 0 dials, 1 listens
	Address string // its own, in a network of trafficBits
	Socket  string // of whatever is in between
	MTU     int    // bytes
}

// networks are the ways to join one, by the kind that a side's task names.
var networks = map[string]func(Member) (ProgramNetwork, error){
	"kernel":  func(Member) (ProgramNetwork, error) { return new(hostNetwork), nil },
	"quintet": joinQuintet,
}

// AddNetwork lets sides of this binary join another kind of network, and AddSide
// plays another role. A program that offers either calls them before RunSide.
func AddNetwork(kind string, join func(Member) (ProgramNetwork, error)) { networks[kind] = join }

// AddSide adds a role that serves at a socket until it is released.
func AddSide(name string, serve func(socket string, mtu int, released func()) error) {
	sides[name] = func(t task) (any, error) { return nil, serve(t.Socket, t.MTU, untilReleased) }
}

// hostNetwork is that of the kernel, in this process's namespace.
type hostNetwork struct{ net.Dialer }

func (*hostNetwork) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

func joinQuintet(m Member) (ProgramNetwork, error) {
	a, err := app.Connect(context.Background(), app.WithSocket(m.Socket), app.WithName(trafficName(m.Program)))
	if err != nil {
		return nil, err
	}
	return a.Network(context.Background(), trafficNetwork)
}

func joinNetwork(t task) (ProgramNetwork, error) {
	join := networks[t.Network]
	if join == nil {
		return nil, fmt.Errorf("unknown network %q", t.Network)
	}
	return join(Member{Program: t.Program, Address: trafficAddress(t.Program).String(), Socket: t.Socket, MTU: t.MTU})
}

// serveTraffic is the program that traffic goes to.
func serveTraffic(t task) (any, error) {
	n, err := joinNetwork(t)
	if err != nil {
		return nil, err
	}
	for _, service := range []struct {
		port  int
		serve func(net.Conn) error
	}{{sinkPort, sink}, {echoPort, echoMessages}, {readyPort, hang}} { // the last one tells that all are there
		listener, err := n.Listen("tcp4", fmt.Sprintf(":%d", service.port))
		if err != nil {
			return nil, err
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					_ = service.serve(conn) // the other end sees a lack
				}()
			}
		}()
	}
	untilReleased()
	return nil, nil
}

func sink(conn net.Conn) error {
	buffer := make([]byte, streamChunkBytes)
	var total uint64
	for {
		n, err := conn.Read(buffer)
		total += uint64(n)
		if err == io.EOF {
			return binary.Write(conn, binary.BigEndian, total)
		}
		if err != nil {
			return err
		}
	}
}

func echoMessages(conn net.Conn) error {
	message := make([]byte, messageBytes)
	for {
		if _, err := io.ReadFull(conn, message); err != nil {
			return err
		}
		if _, err := conn.Write(message); err != nil {
			return err
		}
	}
}

func hang(conn net.Conn) error {
	_, err := conn.Read(make([]byte, 1))
	return err
}

// trafficWork is what the measuring program can do.
var trafficWork = map[string]func(t task, dial func(port int) (net.Conn, error)) (figures, error){
	"stream": stream, "ping": pingPong, "connect": connectAndClose,
}

// sendTraffic is the program that traffic comes from, and that measures.
func sendTraffic(t task) (any, error) {
	n, err := joinNetwork(t)
	if err != nil {
		return nil, err
	}
	dial := func(port int) (net.Conn, error) {
		return n.DialContext(context.Background(), "tcp4", netip.AddrPortFrom(trafficAddress(1), uint16(port)).String())
	}
	for began := time.Now(); ; time.Sleep(dialRetry) {
		conn, err := dial(readyPort)
		if err == nil {
			err = conn.Close()
		}
		if err == nil {
			break
		}
		if time.Since(began) > dialWait {
			return nil, err
		}
	}
	return trafficWork[t.Work](t, dial)
}

// stream writes for a while, and counts what has arrived.
func stream(t task, dial func(int) (net.Conn, error)) (figures, error) {
	conn, err := dial(sinkPort)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	chunk := make([]byte, streamChunkBytes)
	for i := range chunk {
		chunk[i] = byte(i * 7)
	}
	t.PIDs = append(t.PIDs, os.Getpid())
	before, err := cpuOfAll(t.PIDs)
	if err != nil {
		return nil, err
	}
	var sent uint64
	began := time.Now()
	for time.Since(began) < t.Duration {
		n, err := conn.Write(chunk)
		sent += uint64(n)
		if err != nil {
			return nil, err
		}
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return nil, err
	}
	var arrived uint64
	if err := binary.Read(conn, binary.BigEndian, &arrived); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := cpuOfAll(t.PIDs)
	if err == nil && arrived != sent {
		err = fmt.Errorf("%d of %d bytes arrived", arrived, sent)
	}
	f := figures{"throughput": float64(arrived) * 8 / 1e9 / took.Seconds(), "cpu": (after - before).Seconds() / (float64(arrived) / 1e9)}
	return f, err
}

// pingPong times round trips of one message.
func pingPong(t task, dial func(int) (net.Conn, error)) (figures, error) {
	conn, err := dial(echoPort)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	message := make([]byte, messageBytes)
	result, err := timeRoundTrips(t.Duration, func() error {
		if _, err := conn.Write(message); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, message)
		return err
	})
	return figures{"p50": result.P50, "p99": result.P99, "p999": result.P999, "rate": result.PerSecond}, err
}

// connectAndClose makes connections, one after the other.
func connectAndClose(t task, dial func(int) (net.Conn, error)) (figures, error) {
	n, began := 0, time.Now()
	for ; time.Since(began) < t.Duration; n++ {
		conn, err := dial(readyPort)
		if err != nil {
			return nil, err
		}
		if err := conn.Close(); err != nil {
			return nil, err
		}
	}
	return figures{"rate": float64(n) / time.Since(began).Seconds()}, nil
}

// cpuOfAll is the time that the processes have run.
func cpuOfAll(pids []int) (total time.Duration, err error) {
	var problems error
	for _, pid := range pids {
		one, err := cpuTime(pid)
		problems = errors.Join(problems, err)
		total += one
	}
	return total, problems
}
