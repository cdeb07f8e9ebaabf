package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/storage"
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
	session
	buffers *client.Buffers
	terms   storage.Terms
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
	v := &Volume{session: session{app: a}}
	if err := v.open(ctx, name, &o); err != nil {
		return nil, fmt.Errorf("open volume %s: %w", name, errors.Join(err, v.end()))
	}
	return v, nil
}

func (v *Volume) open(ctx context.Context, name string, o *volumeOptions) error {
	c := &broker.Connect{Volume: name, ReadOnly: o.readOnly, Geometry: ipc.Geometry{Slots: o.slots}}
	if err := v.session.open(ctx, c, &v.terms); err != nil {
		return err
	}
	var err error
	v.buffers, err = grant(ctx, &v.session, bufferRegion, o.bytes, func(mem []byte) *client.Buffers {
		return client.NewBuffers(bufferRegion, mem)
	})
	if err != nil {
		return err
	}
	v.Volume, err = client.New(v.ipc, o.slots, v.buffers).Volume(ctx, 0)
	return err
}

// Buffers is memory granted to the volume's server. Operations on it
// (ReadBuffer, WriteBuffer) copy nothing.
func (v *Volume) Buffers() *client.Buffers { return v.buffers }

// Inspect tells what the session is doing.
func (v *Volume) Inspect() ipc.Inspection { return v.ipc.Inspect() }

// Limits are what the topology allows to be in flight.
func (v *Volume) Limits() storage.Limits { return v.terms.Limits }

// Close ends the session. Operations in flight return an error of
// storage.KindClosed. It waits until the server has let go of the granted memory.
func (v *Volume) Close() error {
	if err := v.end(); err != nil {
		return fmt.Errorf("close a volume: %w", err)
	}
	return nil
}

func (v *Volume) end() error {
	if v.buffers != nil {
		v.buffers.Fail(ipc.ErrClosed)
	}
	return v.session.end()
}
