package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/supervisor"
)

const (
	attackedVolume = systemVolume // the victim's
	otherVolume    = "other"      // of the same server, in memory
	otherBytes     = 256 << 20
	attackers      = 16 // goroutines of an attack
)

// storageAttacks are what an ordinary application can do to others that share its
// servers and its supervisor, by name: one turn of one of its goroutines. The first
// is none: a neighbour that works as the victim does, but more.
var storageAttacks = map[string]func(context.Context, *attacker) error{
	honest:                        func(ctx context.Context, a *attacker) error { return a.read(ctx, a.other, storageBlockBytes) },
	"large reads of another":      func(ctx context.Context, a *attacker) error { return a.read(ctx, a.other, a.buffer) },
	"large reads of the same":     func(ctx context.Context, a *attacker) error { return a.read(ctx, a.same, a.buffer) },
	"zeroing another":             func(ctx context.Context, a *attacker) error { return a.other.WriteZeroesContext(ctx, 0, otherBytes, 0) },
	"opening and ending sessions": func(ctx context.Context, a *attacker) error { return a.reopen(ctx) },
	"granting much memory":        func(ctx context.Context, a *attacker) error { return a.grantMuch(ctx) },
	"computing":                   func(context.Context, *attacker) error { return nil }, // takes processors, and asks for nothing
	"connecting":                  func(ctx context.Context, a *attacker) error { return a.reconnect(ctx) },
	"asking for the state":        func(ctx context.Context, a *attacker) error { return a.state(ctx) },
	"ringing":                     func(ctx context.Context, a *attacker) error { return a.ring(ctx) },
	"scribbling":                  func(ctx context.Context, a *attacker) error { return a.scribble(ctx) },
	"strange descriptors":         func(ctx context.Context, a *attacker) error { return a.pass(ctx) },
}

const honest = "an honest neighbour"

// StorageAttacks measures one application that reads blocks one at a time, beside an
// attacker that shares its server and supervisor, for each of storageAttacks.
func StorageAttacks(ctx context.Context, o Options) (rows []Row, err error) {
	s := &store{Options: o.withDefaults()}
	if s.dir, err = os.MkdirTemp(o.Dir, "quintet-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	s.file = filepath.Join(s.dir, "volume")
	if err := fillFile(s.file, storageFileBytes); err != nil {
		return nil, err
	}
	var parts []part
	for _, name := range slices.Sorted(maps.Keys(storageAttacks)) {
		if name != honest {
			parts = append(parts, part{name, func(ctx context.Context) ([]Row, error) { return s.attack(ctx, name) }})
		}
	}
	return s.run(ctx, parts)
}

func (s *store) attack(ctx context.Context, name string) ([]Row, error) {
	side := func(attack string) contender {
		return contender{attack, func(ctx context.Context) (Result, error) { return s.victim(ctx, attack) }}
	}
	results, err := s.alternate(ctx, "attack", side(name), side(honest), side(""))
	if err != nil {
		return nil, err
	}
	c := here()
	c.Rounds, c.Note = s.Rounds, fmt.Sprintf("4 KiB reads one at a time; alone %.0f/s, p99 %.0f us", results[2].PerSecond, results[2].P99/1e3)
	return []Row{compared(name, "1/s", results[0].PerSecond, honest, results[1].PerSecond, c),
		compared(name+", p99", "ns", results[0].P99, honest, results[1].P99, c)}, nil
}

// victim measures it on a fresh system, beside an attack if there is a name.
func (s *store) victim(ctx context.Context, attack string) (result Result, err error) {
	dir, err := os.MkdirTemp(s.dir, "system-")
	if err != nil {
		return result, err
	}
	text := fmt.Sprintf("servers: {%s: {kind: storage}}\n", systemServer) +
		fmt.Sprintf("volumes: {%s: {server: %s, file: %q}, %s: {server: %s, memory: %dB}}\n", attackedVolume, systemServer, s.file, otherVolume, systemServer, otherBytes) +
		fmt.Sprintf("applications: {bench: {volumes: {%s: rw, %s: rw}}}\n", attackedVolume, otherVolume)
	running, err := startSystem(ctx, dir, systemServer, text)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, running.stop()) }()
	t := task{Duration: s.Duration, Callers: 1, Socket: broker.SocketPath(running.dir), Work: attack}
	if attack != "" {
		hostile, err := startSide(ctx, "storage-attacker", t, anyCPU)
		if err != nil {
			return result, err
		}
		defer func() { err = errors.Join(err, hostile.release()) }()
	}
	measuring, cancel := context.WithTimeout(ctx, s.Duration+sideGrace)
	defer cancel()
	side, err := startSide(measuring, "volume", t, anyCPU)
	if err != nil {
		return result, err
	}
	return result, side.result(&result)
}

// attacker is a hostile application.
type attacker struct {
	socket      string
	app         *app.App
	same, other *app.Volume
	buffer      int // bytes of the largest transfer
}

// attackStorage attacks until it is released.
func attackStorage(t task) (any, error) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { untilReleased(); cancel() }()
	a := &attacker{socket: t.Socket, buffer: 1 << 20}
	var err error
	if a.app, err = a.connect(ctx); err != nil {
		return nil, err
	}
	if a.same, err = a.app.Volume(ctx, attackedVolume, app.BufferBytes(attackers<<20)); err != nil {
		return nil, err
	}
	if a.other, err = a.app.Volume(ctx, otherVolume, app.BufferBytes(attackers<<20)); err != nil {
		return nil, err
	}
	attack := storageAttacks[t.Work]
	var all sync.WaitGroup
	for range attackers {
		all.Go(func() {
			for ctx.Err() == nil {
				_ = attack(ctx, a) // what is refused is asked again
			}
		})
	}
	all.Wait()
	return nil, nil
}

func (a *attacker) connect(ctx context.Context) (*app.App, error) {
	return app.Connect(ctx, app.WithSocket(a.socket), app.WithName("attacker"))
}

// read reads so many bytes into granted memory.
func (a *attacker) read(ctx context.Context, v *app.Volume, bytes int) error {
	b, err := v.Buffers().Get(ctx, bytes)
	if err != nil {
		return err
	}
	defer b.Release()
	for range 64 {
		if _, err := v.ReadBuffer(ctx, b, 0, bytes, 0); err != nil {
			return err
		}
	}
	return nil
}

// reopen opens a session and ends it.
func (a *attacker) reopen(ctx context.Context) error {
	v, err := a.app.Volume(ctx, otherVolume)
	if err != nil {
		return err
	}
	return v.Close()
}

// grantMuch has the server pin as much memory as a session may grant.
func (a *attacker) grantMuch(ctx context.Context) error {
	v, err := a.app.Volume(ctx, otherVolume, app.BufferBytes(256<<20))
	if err != nil {
		return err
	}
	return errors.Join(a.read(ctx, v, a.buffer), v.Close())
}

// reconnect connects to the supervisor and goes.
func (a *attacker) reconnect(ctx context.Context) error {
	again, err := a.connect(ctx)
	if err != nil {
		return err
	}
	return again.Close()
}

// state asks the supervisor for all it knows.
func (a *attacker) state(ctx context.Context) error {
	m, err := a.app.Broker().Ask(ctx, &broker.Control{Verb: supervisor.VerbState})
	m.CloseFDs()
	return err
}

// own opens a session as a library of the attacker's own would. The caller closes what
// it gets: its segment, and the descriptors of the answer, the server's doorbell second.
func (a *attacker) own(ctx context.Context) (mine *shm.Segment, m broker.Message, err error) {
	g := ipc.Geometry{Slots: ipc.SlotsMax}
	if mine, err = shm.Create("quintet-client", g.ClientBytes(), shm.OneWriter); err != nil {
		return nil, m, err
	}
	if err = ipc.FormatClient(mine.Mem, g); err == nil {
		m, err = a.app.Broker().Ask(ctx, &broker.Connect{Volume: otherVolume, Geometry: g}, mine.FD)
	}
	if err != nil {
		mine.Close()
	}
	return mine, m, err
}

// ring wakes the server for nothing, by the doorbell of a session of its own.
func (a *attacker) ring(ctx context.Context) error {
	mine, m, err := a.own(ctx)
	if err != nil {
		return err
	}
	defer mine.Close()
	defer m.CloseFDs()
	for ctx.Err() == nil {
		if err := unix.Ring(m.FDs[1]); err != nil {
			return err
		}
	}
	return nil
}

// scribble writes anything into the first page of its segment, where bits of slots,
// indices and states lie, and wakes the server; the next turn has another session, since
// the server fails such ones, and this one is given back: there are not endlessly many.
func (a *attacker) scribble(ctx context.Context) error {
	const words, rounds, ringEvery = 4096 / 8, 10_000, 16
	mine, m, err := a.own(ctx)
	if err != nil {
		return err
	}
	defer mine.Close()
	defer m.CloseFDs()
	for i := 0; i < rounds && ctx.Err() == nil; i++ {
		binary.LittleEndian.PutUint64(mine.Mem[rand.IntN(words)*8:], rand.Uint64())
		if i%ringEvery == 0 {
			if err := unix.Ring(m.FDs[1]); err != nil {
				return err
			}
		}
	}
	_, err = a.app.Broker().Ask(ctx, &broker.Close{Session: m.Body.(*broker.Connected).Session})
	return err
}

// pass hands over a descriptor that is no memory at all.
func (a *attacker) pass(ctx context.Context) error {
	dir, err := os.Open(os.TempDir())
	if err != nil {
		return err
	}
	defer dir.Close()
	m, err := a.app.Broker().Ask(ctx, &broker.Connect{Volume: otherVolume, Geometry: ipc.Geometry{Slots: 1}}, int(dir.Fd()))
	m.CloseFDs()
	return err
}
