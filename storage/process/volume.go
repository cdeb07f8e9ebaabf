package process

import (
	"fmt"

	"github.com/quintet-os/quintet/internal/unix"
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
	file   *device.File   // nil for memory
	served *server.Volume // nil until its device has come
	fenced bool           // no I/O of a dead server is in flight; sessions are served
	late   []func()       // wait for fenced
}

// volume returns the volume of a handle. Until its device has come its sessions wait.
func (s *service) volume(handle int) *volume {
	if s.volumes[handle] == nil {
		s.volumes[handle] = &volume{}
	}
	return s.volumes[handle]
}

// addVolume makes a device of an open description, on the thread that will use
// it. Its lock is taken later, by fence. A device that is of no use is reported, and
// may come again.
func (s *service) addVolume(body *broker.Volume, fd int) error {
	v := s.volume(body.Handle)
	if v.served != nil {
		unix.CloseAll([]int{fd})
		return fmt.Errorf("the supervisor passed volume %s twice", body.Name)
	}
	v.name = body.Name
	d, err := v.open(body, fd)
	if err != nil {
		s.process.Report(&broker.VolumeFailed{Handle: body.Handle, Reason: fmt.Sprintf("volume %s: %v", v.name, err)})
		return nil
	}
	if wakeup := d.Wakeup(); wakeup >= 0 {
		if err := s.process.Loop().Watch(wakeup); err != nil {
			return err
		}
	}
	v.served = s.AddVolume(v.name, d)
	for of, each := range s.sessions {
		if each.volume == v {
			s.PrepareSession(of.IPC, each.grants(), each.Limits)
		}
	}
	if s.process.Active() {
		s.fence(v)
	}
	return nil
}

func (v *volume) open(body *broker.Volume, fd int) (storage.Device, error) {
	if !body.Memory {
		file, err := device.NewFile(fd, device.Options{ReadOnly: body.ReadOnly, BlockSize: body.BlockSize, Size: body.Bytes})
		if err != nil {
			return nil, err
		}
		v.file = file
		return file, nil
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
