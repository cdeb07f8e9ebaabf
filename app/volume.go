package app

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/storage/client"
)

const (
	slotsDefault       = 128
	bufferBytesDefault = 8 << 20
	bufferRegion       = 0 // the region of the volume's own buffers
)

// Volume is a volume of the system, with a session of its own. It implements
// storage.Volume, and its methods may be called from any goroutine.
type Volume struct {
	*client.Volume
	app     *App
	id      uint64
	ipc     *ipc.Client
	buffers *client.Buffers
	limits  broker.Limits
}

// VolumeOption changes how a volume is opened.
type VolumeOption func(*volumeOptions)

type volumeOptions struct {
	readOnly bool
	slots    int
	bytes    int
}

// ReadOnly opens the volume for reading only.
func ReadOnly() VolumeOption { return func(o *volumeOptions) { o.readOnly = true } }

// Slots sets the number of requests that can be in flight, 1 to ipc.SlotsMax,
// 128 by default.
func Slots(n int) VolumeOption { return func(o *volumeOptions) { o.slots = n } }

// BufferBytes sets the size of the memory granted to the server, 8 MiB by
// default: the buffers of Buffers, and those that ordinary slices are copied
// through.
func BufferBytes(n int) VolumeOption { return func(o *volumeOptions) { o.bytes = n } }

// Volume opens a volume of the topology. Errors are *broker.Refused (no such
// volume, no right to it, a limit), broker.ErrDisconnected, ipc.ErrHost, and the
// context's.
func (a *App) Volume(ctx context.Context, name string, opts ...VolumeOption) (*Volume, error) {
	o := volumeOptions{slots: slotsDefault, bytes: bufferBytesDefault}
	for _, each := range opts {
		each(&o)
	}
	v := &Volume{app: a}
	if err := v.open(ctx, name, &o); err != nil {
		return nil, fmt.Errorf("open volume %s: %w", name, errors.Join(err, v.end()))
	}
	return v, nil
}

func (v *Volume) open(ctx context.Context, name string, o *volumeOptions) error {
	g := ipc.Geometry{Slots: o.slots}
	if err := g.Check(); err != nil {
		return err
	}
	mine, err := shm.Create("quintet-client", g.ClientBytes(), shm.OneWriter)
	if err != nil {
		return err
	}
	owned := segments{mine}
	defer func() { owned.close() }()
	if err := ipc.FormatClient(mine.Mem, g); err != nil {
		return err
	}
	m, err := v.app.broker.Ask(ctx, &broker.Connect{Volume: name, ReadOnly: o.readOnly, Geometry: g}, mine.FD)
	if err != nil {
		return err
	}
	connected, ok := m.Body.(*broker.Connected)
	if !ok {
		m.CloseFDs()
		return fmt.Errorf("%w: not an answer to connect", broker.ErrMalformed)
	}
	v.id, v.limits = connected.Session, connected.Limits
	bell := m.FDs[1]
	theirs, err := shm.Open(m.FDs[0], g.ServerBytes(), false)
	if err != nil {
		return errors.Join(err, unix.Close(bell))
	}
	session := append(owned, theirs)
	owned = nil
	v.ipc, err = ipc.NewClient(ipc.ClientConfig{
		Geometry: g, Client: mine.Mem, Server: theirs.Mem, Doorbell: bell,
		Unmap: func() { session.close(); _ = unix.Close(bell) },
	})
	if err != nil {
		session.close()
		return errors.Join(err, unix.Close(bell))
	}
	v.app.enter(v)
	if err := v.grant(ctx, o.bytes); err != nil {
		return err
	}
	session.closeFDs()
	v.Volume, err = client.New(v.ipc, o.slots, v.buffers).Volume(ctx, 0)
	return err
}

// grant makes the memory of the volume's buffers. It is unmapped when nobody
// can use a buffer any more, which may be some time after Close.
func (v *Volume) grant(ctx context.Context, bytes int) error {
	memory, err := shm.Create("quintet-buffers", bytes, shm.Shared)
	if err != nil {
		return err
	}
	m, err := v.app.broker.Ask(ctx, &broker.Grant{
		Session: v.id, Region: bufferRegion, Bytes: int64(bytes), Writable: true, Delegable: true,
	}, memory.FD)
	if err != nil {
		return errors.Join(err, memory.Close())
	}
	m.CloseFDs()
	v.buffers = client.NewBuffers(bufferRegion, memory.Mem)
	runtime.AddCleanup(v.buffers, func(s *shm.Segment) { _ = s.Close() }, memory)
	return memory.CloseFD()
}

type segments []*shm.Segment

func (s segments) close() {
	for _, each := range s {
		_ = each.Close()
	}
}

func (s segments) closeFDs() {
	for _, each := range s {
		_ = each.CloseFD()
	}
}

// enter lists a volume, so that the system can end it.
func (a *App) enter(v *Volume) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.volumes[v.id] = v
	if a.lost {
		v.ipc.Fail(ipc.ReasonRevoked, broker.ErrDisconnected.Error())
	}
	if reason, ended := a.early[v.id]; ended {
		delete(a.early, v.id)
		v.ipc.Fail(ipc.ReasonRevoked, reason)
	}
}

// Buffers is memory granted to the volume's server. Operations on it
// (ReadBuffer, WriteBuffer) copy nothing.
func (v *Volume) Buffers() *client.Buffers { return v.buffers }

// Inspect tells what the session is doing.
func (v *Volume) Inspect() ipc.Inspection { return v.ipc.Inspect() }

// Limits are what the topology allows to be in flight.
func (v *Volume) Limits() broker.Limits { return v.limits }

// Close ends the session. Operations in flight return an error of
// storage.KindClosed. It waits until the server has let go of the granted memory.
func (v *Volume) Close() error {
	if err := v.end(); err != nil {
		return fmt.Errorf("close a volume: %w", err)
	}
	return nil
}

func (v *Volume) end() error {
	if v.ipc == nil {
		return nil // the supervisor ends what it has of it with the connection
	}
	err := v.ipc.Close()
	if v.buffers != nil {
		v.buffers.Fail(ipc.ErrClosed)
	}
	v.app.mu.Lock()
	delete(v.app.volumes, v.id)
	v.app.mu.Unlock()
	m, askErr := v.app.broker.Ask(context.Background(), &broker.Close{Session: v.id})
	m.CloseFDs()
	if errors.Is(askErr, broker.ErrDisconnected) {
		askErr = nil // the session ends with the application
	}
	return errors.Join(err, askErr)
}
