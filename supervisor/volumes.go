package supervisor

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// reopenPeriod is the time between two attempts to open a device that is lost.
const reopenPeriod = time.Second

// volumes are what a storage server serves.
type volumes struct {
	server    *server
	all       []*volume                   // the index is the handle; fixed once prepared
	lost      map[*process]map[int]string // those that a process has not, by handle, and why
	reopening bool                        // those that are lost are looked for
}

func newVolumes(s *server) *volumes {
	return &volumes{server: s, lost: make(map[*process]map[int]string)}
}

func (v *volumes) prepare(t *topology.Topology) error {
	for _, declared := range t.VolumesOf(v.server.config.Name) {
		each := &volume{Volume: declared, openFile: os.OpenFile}
		v.all = append(v.all, each)
		if err := each.prepare(); err != nil {
			return err
		}
	}
	return nil
}

// opened is a fresh description of a volume's device, or why there is none. The
// supervisor keeps none: that would hold a dead server's lock.
type opened struct {
	file *descriptor
	err  error
}

func (o opened) close() { o.file.release() }

func (v *volume) tryOpen() opened {
	file, err := v.open()
	return opened{file: file, err: err}
}

func (v *volumes) open() (offer func(*process), forget func()) {
	devices := make([]opened, len(v.all))
	for handle, each := range v.all {
		devices[handle] = each.tryOpen()
	}
	offer = func(p *process) {
		for handle, device := range devices {
			v.offer(p, handle, device)
		}
	}
	forget = func() {
		for _, device := range devices {
			device.close()
		}
	}
	return offer, forget
}

// offer passes a description on, or notes that the process has to do without: it serves
// its other volumes.
func (v *volumes) offer(p *process, handle int, device opened) {
	if device.err != nil {
		v.lose(p, handle, device.err.Error())
		return
	}
	each := v.all[handle]
	if _, lost := v.lost[p][handle]; lost {
		slog.Info("volume is back", "server", v.server.config.Name, "pid", p.pid, "volume", each.Name)
		delete(v.lost[p], handle)
	}
	p.send(&broker.Volume{
		Name: each.Name, Handle: handle, ReadOnly: each.ReadOnly, Memory: each.memory != nil, Bytes: each.Size, BlockSize: each.BlockSize,
	}, nil, device.file)
	device.close()
}

// lose notes why a process does not have a volume.
func (v *volumes) lose(p *process, handle int, reason string) {
	if v.lost[p] == nil {
		v.lost[p] = make(map[int]string)
	}
	if v.lost[p][handle] != reason {
		slog.Error("volume lost", "server", v.server.config.Name, "pid", p.pid, "reason", reason)
	}
	v.lost[p][handle] = reason
}

func (v *volumes) receive(p *process, body broker.Body) bool {
	failed, is := body.(*broker.VolumeFailed)
	if !is {
		return false
	}
	v.server.sup.mu.Lock()
	defer v.server.sup.mu.Unlock()
	if failed.Handle < 0 || failed.Handle >= len(v.all) {
		return false
	}
	if p == v.server.active || p == v.server.standby { // and not dead by now
		v.lose(p, failed.Handle, failed.Reason)
		v.server.ensure()
	}
	return true
}

// ensure looks for the volumes that are lost until none is.
func (v *volumes) ensure() {
	if v.reopening || len(v.losses()) == 0 {
		return
	}
	v.reopening = true
	time.AfterFunc(reopenPeriod, v.reopen)
}

func (v *volumes) reopen() {
	s := v.server
	s.sup.mu.Lock()
	losses := v.losses()
	s.sup.mu.Unlock()
	for _, each := range losses {
		device := v.all[each.handle].tryOpen() // which may take its time: without locks
		s.sup.mu.Lock()
		if s.stopping || each.process != s.active && each.process != s.standby {
			device.close()
		} else {
			v.offer(each.process, each.handle, device)
		}
		s.sup.mu.Unlock()
	}
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	v.reopening = false
	s.ensure()
}

func (v *volumes) busy() bool { return v.reopening }

// loss is a volume that a process does not have.
type loss struct {
	process *process
	handle  int
}

func (v *volumes) losses() (all []loss) {
	for p, lost := range v.lost {
		for handle := range lost {
			all = append(all, loss{process: p, handle: handle})
		}
	}
	return all
}

func (v *volumes) ended(p *process) { delete(v.lost, p) }

func (v *volumes) activated() {}

func (v *volumes) left(*application) {}

func (v *volumes) rings() int { return len(v.all) }

func (v *volumes) resident() (bytes int64) {
	for _, each := range v.all {
		if each.memory != nil {
			bytes += each.Size
		}
	}
	return bytes
}

// settle takes each device's lock. What an orderly end leaves to be done is nothing,
// what a kill leaves may still be written into clients' memory.
func (v *volumes) settle(max time.Duration) {
	var waiting sync.WaitGroup
	for _, each := range v.all {
		if each.memory != nil {
			continue
		}
		waiting.Go(func() {
			device, err := each.open()
			if err != nil {
				return // it has gone, and does nothing
			}
			defer device.release()
			if err := unix.LockExclusive(device.fd); err != nil {
				slog.Error("wait for a device", "volume", each.Name, "err", err)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		waiting.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(max):
		slog.Error("a device has not finished: it may still write to the memory of applications", "server", v.server.config.Name)
	}
}

func (v *volumes) state(server *ServerState, _ *State) {
	for _, each := range v.all {
		server.Volumes = append(server.Volumes, each.Name)
	}
	for _, p := range v.server.processes() {
		for handle, each := range v.all {
			if reason, lost := v.lost[p][handle]; lost {
				server.Lost = append(server.Lost, VolumeLoss{Volume: each.Name, PID: p.pid, Reason: reason})
			}
		}
	}
}

func (v *volumes) close() {
	for _, each := range v.all {
		each.close()
	}
}

// volume finds a volume: who serves it, and its handle.
func (s *Supervisor) volume(name string) (of *volumes, handle int) {
	for _, each := range s.servers {
		if v, is := each.service.(*volumes); is {
			for handle, declared := range v.all {
				if declared.Name == name {
					return v, handle
				}
			}
		}
	}
	return nil, 0
}

func admitToVolume(a *application, _ uint64, c *broker.Connect, _ *session) (*admission, error) {
	v, handle := a.sup.volume(c.Volume)
	if v == nil {
		return nil, broker.Refuse(broker.CodeNotFound, "there is no volume %q; `quintet ps` lists them", c.Volume)
	}
	right, granted := a.sup.rightTo(c.Volume, a.domain, a.peer)
	switch {
	case !granted:
		return nil, broker.Refuse(broker.CodeDenied, "the topology does not grant volume %q to %s; add a grant to it", c.Volume, a.who())
	case right.readOnly && !c.ReadOnly:
		return nil, broker.Refuse(broker.CodeDenied, "the topology grants volume %q to %s for reading only; connect read-only", c.Volume, a.who())
	}
	if reason, lost := v.lost[v.server.active][handle]; lost {
		return nil, broker.Refuse(broker.CodeDown, "%s; it is served again when it is back", reason)
	}
	terms := storage.Terms{Volume: handle, ReadOnly: c.ReadOnly || v.all[handle].ReadOnly, Limits: right.limits}
	return &admission{server: v.server, terms: terms, told: terms}, nil
}
