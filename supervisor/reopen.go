package supervisor

import (
	"log/slog"
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
)

// reopenPeriod is the time between two attempts to open a device that is lost.
const reopenPeriod = time.Second

// opened is a fresh description of a volume's device, or why there is none. The
// supervisor keeps none: that would hold a dead server's lock.
type opened struct {
	file *descriptor
	err  error
}

func (o opened) close() {
	o.file.release()
}

func (v *volume) tryOpen() opened {
	file, err := v.open()
	return opened{file: file, err: err}
}

// openVolumes opens each device. It needs no lock: volumes do not change once the
// servers are started.
func (s *server) openVolumes() (devices []opened) {
	for _, v := range s.volumes {
		devices = append(devices, v.tryOpen())
	}
	return devices
}

// offerVolume passes a description on, or notes that the process has to do without:
// it serves its other volumes. Supervisor.mu is held.
func (s *server) offerVolume(p *process, handle int, device opened) {
	if device.err != nil {
		s.lose(p, handle, device.err.Error())
		return
	}
	v := s.volumes[handle]
	if _, lost := p.lost[handle]; lost {
		slog.Info("volume is back", "server", s.config.Name, "pid", p.pid, "volume", v.Name)
		delete(p.lost, handle)
	}
	p.send(&broker.Volume{
		Name: v.Name, Handle: handle, ReadOnly: v.ReadOnly, Memory: v.memory != nil, Bytes: v.Size, BlockSize: v.BlockSize,
	}, nil, device.file)
	device.close()
}

// lose notes why a process does not have a volume. Supervisor.mu is held.
func (s *server) lose(p *process, handle int, reason string) {
	if p.lost[handle] != reason {
		slog.Error("volume lost", "server", s.config.Name, "pid", p.pid, "reason", reason)
	}
	p.lost[handle] = reason
}

// volumeFailed notes that a process can do nothing with a device.
func (s *server) volumeFailed(p *process, f *broker.VolumeFailed) {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	if f.Handle < 0 || f.Handle >= len(s.volumes) {
		p.kill()
		return
	}
	s.lose(p, f.Handle, f.Reason)
	s.ensure()
}

// reopen looks for the volumes that are lost until none is. Supervisor.mu is held.
func (s *server) reopen() {
	if s.reopening || len(s.losses()) == 0 {
		return
	}
	s.reopening = true
	time.AfterFunc(reopenPeriod, func() {
		s.sup.mu.Lock()
		losses := s.losses()
		s.sup.mu.Unlock()
		for _, each := range losses {
			device := s.volumes[each.handle].tryOpen() // which may take its time: without locks
			s.sup.mu.Lock()
			if s.stopping || each.process != s.active && each.process != s.standby {
				device.close()
			} else {
				s.offerVolume(each.process, each.handle, device)
			}
			s.sup.mu.Unlock()
		}
		s.sup.mu.Lock()
		defer s.sup.mu.Unlock()
		s.reopening = false
		s.ensure()
	})
}

// loss is a volume that a process does not have.
type loss struct {
	process *process
	handle  int
}

func (s *server) losses() (all []loss) {
	for _, p := range s.processes() {
		for handle := range p.lost {
			all = append(all, loss{process: p, handle: handle})
		}
	}
	return all
}
