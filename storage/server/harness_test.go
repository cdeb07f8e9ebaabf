package server_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/storage/server"
)

const (
	blockBytes  = 512
	depth       = 16 // operations a device takes
	volumeBytes = 4 << 20
	regionBytes = 2 << 20
)

// bench is a core stepped by hand, over tampered memory devices: volume 0, and
// volume 1 that the tests of one volume leave alone.
type bench struct {
	t       *testing.T
	data    []byte
	device  *device.Tampered
	other   *device.Tampered
	core    *server.Core
	set     *ipc.Sessions
	volumes [2]*server.Volume
	clients []*tester
	now     time.Duration
	// generation counts the incarnations.
	generation uint64
	pardon     bool // what comes next pardons the death of what was
}

// tester is a client that sends raw requests.
type tester struct {
	t              *testing.T
	b              *bench
	ipc            *ipc.Client
	served         *ipc.Session
	client, server []byte
	region         []byte
	doorbell       int
	readOnly       bool
	limits         storage.Limits
	geometry       ipc.Geometry
	single         bool // it may use the first volume only
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, data: make([]byte, volumeBytes)}
	b.Successor()
	return b
}

// Successor starts an incarnation; what the last one had taken and not answered
// is left in the segments.
func (b *bench) Successor() {
	b.generation++
	b.set = ipc.NewSessions()
	b.core = server.NewCore(b.set)
	b.device = b.open(b.data)
	b.other = b.open(make([]byte, volumeBytes))
	b.volumes = [2]*server.Volume{b.core.AddVolume("test", b.device), b.core.AddVolume("other", b.other)}
	for _, c := range b.clients {
		b.attach(c)
	}
}

func (b *bench) open(data []byte) *device.Tampered {
	memory, err := device.NewMemory(data, blockBytes, depth)
	if err != nil {
		b.t.Fatal(err)
	}
	return device.Tamper(memory)
}

func (b *bench) attach(c *tester) {
	var err error
	c.served, err = ipc.NewSession(ipc.SessionConfig{ID: uint64(c.doorbell), Geometry: c.geometry, Client: c.client, Server: c.server, Doorbell: c.doorbell})
	if err != nil {
		b.t.Fatal(err)
	}
	if b.pardon {
		c.served.Pardon()
	}
	c.served.Attach(b.generation)
	c.served.AddRegion(&ipc.Region{ID: 0, Mem: c.region, Writable: true})
	c.served.AddRegion(&ipc.Region{ID: 1, Mem: c.region})
	grants := []server.Grant{{Volume: b.volumes[0], ReadOnly: c.readOnly}, {Volume: b.volumes[1]}}
	if c.single {
		grants = grants[:1]
	}
	b.core.AddSession(c.served, grants, c.limits)
	b.set.Add(c.served)
}

var geometry = ipc.Geometry{Slots: 64}

func (b *bench) connect(readOnly bool, limits storage.Limits) *tester {
	b.t.Helper()
	return b.connectOf(geometry, readOnly, limits)
}

func (b *bench) connectOf(geometry ipc.Geometry, readOnly bool, limits storage.Limits) *tester {
	b.t.Helper()
	c := &tester{t: b.t, b: b, readOnly: readOnly, limits: limits, geometry: geometry, region: make([]byte, regionBytes),
		client: make([]byte, geometry.ClientBytes()), server: make([]byte, geometry.ServerBytes())}
	var err error
	if c.doorbell, err = unix.CreateEventfd(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { unix.Close(c.doorbell) })
	if err := errors.Join(ipc.FormatClient(c.client, geometry), ipc.FormatServer(c.server, geometry)); err != nil {
		b.t.Fatal(err)
	}
	c.ipc, err = ipc.NewClient(ipc.ClientConfig{Geometry: geometry, Client: c.client, Server: c.server, Doorbell: c.doorbell})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.ipc.Close() })
	b.clients = append(b.clients, c)
	b.attach(c)
	return c
}

// settle steps until there is nothing to do. A step serves only some of many
// sessions, so that one without work does not mean that there is none.
func (b *bench) settle() {
	for idle := 0; idle < 4; idle++ {
		if b.core.Step(b.now) {
			idle = 0
		}
	}
}

// hold makes the device keep all operations back.
func (b *bench) hold() {
	b.device.Decide = func(*storage.Operation) device.Verdict { return device.Verdict{Hold: true} }
}

// proceed lets everything go on.
func (b *bench) proceed() {
	b.device.Decide = nil
	b.device.Release(b.device.Held())
	b.settle()
}

func (c *tester) start(r storage.Request) *ipc.Call {
	c.t.Helper()
	words := ipc.Words(r.Encode())
	return c.raw(&words)
}

func (c *tester) raw(words *ipc.Words) *ipc.Call {
	c.t.Helper()
	call, err := c.ipc.Start(context.Background(), words)
	if err != nil {
		c.t.Fatal(err)
	}
	return call
}

// reply returns the answer, which must have come.
func (c *tester) reply(call *ipc.Call) storage.Reply {
	c.t.Helper()
	if !call.Done() {
		c.t.Fatal("no reply")
	}
	var words ipc.Words
	if err := call.Wait(context.Background(), &words); err != nil {
		c.t.Fatal(err)
	}
	plain := [7]uint64(words)
	return storage.DecodeReply(&plain, storage.RangeMax)
}

func (c *tester) want(call *ipc.Call, kind storage.Kind) {
	c.t.Helper()
	if got := c.reply(call); got.Kind != kind {
		c.t.Errorf("answered %v (%v), want %v", got.Kind, got, kind)
	}
}

func (c *tester) pending(what string, calls ...*ipc.Call) {
	c.t.Helper()
	for _, call := range calls {
		if call.Done() {
			c.t.Errorf("%s was answered", what)
		}
	}
}

func write(block int64, at int64) storage.Request {
	return storage.Request{Op: storage.OpWrite, Offset: block * blockBytes, RegionOffset: at * blockBytes, Length: blockBytes}
}

func read(block int64, at int64) storage.Request {
	return storage.Request{Op: storage.OpRead, Offset: block * blockBytes, RegionOffset: at * blockBytes, Length: blockBytes}
}

func (c *tester) fill(at int, b byte) {
	copy(c.region[at*blockBytes:], bytes.Repeat([]byte{b}, blockBytes))
}
