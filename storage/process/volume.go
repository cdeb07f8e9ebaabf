package process

import (
	"fmt"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/storage/server"
)

// memoryDepth is the number of operations queued to a memory volume at a time.
const memoryDepth = 256

// volume is a device this process has received.
type volume struct {
	name   string
	file   *device.File // nil for memory
	served *server.Volume
	fenced bool     // no I/O of a dead server is in flight; sessions are served
	late   []func() // wait for fenced
}

// addVolume makes a device of an open description, on the thread that will use
// it. Its lock is taken later, by fence.
func (s *service) addVolume(body *broker.Volume, fd int) error {
	v := &volume{name: body.Name}
	d, err := v.open(body, fd)
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.name, err)
	}
	if wakeup := d.Wakeup(); wakeup >= 0 {
		if err := s.process.Loop().Watch(wakeup); err != nil {
			return err
		}
	}
	v.served = s.AddVolume(v.name, d)
	s.volumes[body.Handle] = v
	return nil
}

func (v *volume) open(body *broker.Volume, fd int) (storage.Device, error) {
	if !body.Memory {
		var err error
		v.file, err = device.NewFile(fd, device.Options{ReadOnly: body.ReadOnly, BlockSize: body.BlockSize, Size: body.Bytes})
		return v.file, err
	}
	segment, err := shm.Open(fd, int(body.Bytes), !body.ReadOnly)
	if err != nil {
		return nil, err
	}
	if err := segment.CloseFD(); err != nil {
		return nil, err
	}
	return device.NewMemory(segment.Mem, body.BlockSize, memoryDepth)
}
