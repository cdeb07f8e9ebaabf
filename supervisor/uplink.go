package supervisor

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/sandbox"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// UplinkVariable carries an UplinkConfig to the process of an uplink.
const UplinkVariable = "QUINTET_UPLINK"

// UplinkFD is the descriptor of an uplink's connection to its supervisor. The
// listening sockets of what is published follow it, in their order, and then what
// the link consists of, in the order of package gateway/uplink.
const UplinkFD = 3

// UplinkConfig is what the process of an uplink has to know.
type UplinkConfig struct {
	topology.Uplink
	Publish []Published
}

// Published is a port of the host that leads to an application. Its socket listens
// already, and goes on when the uplink's process is replaced.
type Published struct {
	topology.Publish
	Application string
}

// uplink is a declared uplink with the process that plays it. The process is a
// client of the network server like any application; what it needs of the host is
// kept here, so that its successor finds it. Fields are guarded by Supervisor.mu.
type uplink struct {
	topology.Uplink
	sup       *Supervisor
	mtu       int // of the network
	published []Published
	listeners []*os.File // of published
	// link is nil for a user uplink, and while there is no interface of that name.
	// While the process is launched, it is its launch that changes it.
	link    *hostLink
	looking sync.Mutex // the last to look at the interface has seen it last; above Supervisor.mu
	tap     *ownTAP    // the TAP is the supervisor's, and to be made if it is missing
	missing bool       // the last look has found no interface
	trouble string     // what is wrong with the interface, for a person

	box       *sandbox.Process
	app       *application
	launching bool
	program   *program // of the processes to be started
	running   *program // of the process
	retry     backoff
	launchAt  time.Time
	timer     *time.Timer
	startedAt time.Time
	deaths    uint64
	lastDeath string
	degraded  []string
	stopping  bool
}

// prepare opens what the uplink needs of the host, so that what is missing is an
// error of `up`. No lock is held.
func (u *uplink) prepare(t *topology.Topology) error {
	if u.Kind != topology.User {
		declared, _ := t.NetworkOf(u.Network)
		u.mtu = declared.MTU
		var err error
		if u.link, err = openHostLink(&u.Uplink, u.mtu, new(ownTAP)); err != nil {
			return fmt.Errorf("uplink %s: %w", u.Name, err)
		}
		u.tap = u.link.made
		return nil
	}
	for _, p := range t.Ports {
		for _, each := range p.Publish {
			if p.Network != u.Network {
				continue
			}
			f, err := listenOnHost(each)
			if err != nil {
				return fmt.Errorf("publish %v/%s of application %s: %w", each.Listen, each.Protocol, p.To, err)
			}
			u.listeners = append(u.listeners, f)
			u.published = append(u.published, Published{Publish: each, Application: p.To})
		}
	}
	return nil
}

// ensure starts the process if there is none. Supervisor.mu is held.
func (u *uplink) ensure() {
	u.sup.changed.Broadcast()
	if u.stopping || u.box != nil || u.launching {
		return
	}
	if wait := time.Until(u.launchAt); wait > 0 {
		if u.timer == nil {
			u.timer = time.AfterFunc(wait, func() {
				u.sup.mu.Lock()
				defer u.sup.mu.Unlock()
				u.timer = nil
				u.ensure()
			})
		}
		return
	}
	u.launching = true
	go u.launch(u.program)
}

func (u *uplink) launch(of *program) {
	if err := u.attach(); err != nil {
		u.sup.mu.Lock()
		defer u.sup.mu.Unlock()
		u.launching = false
		u.note(u.waiting(err))
		u.launchAt = time.Now().Add(reopenPeriod)
		u.ensure()
		return
	}
	box, conn, err := u.start(of)
	u.sup.mu.Lock()
	defer u.sup.mu.Unlock()
	u.launching = false
	if err != nil {
		u.lastDeath = err.Error()
		slog.Error("start an uplink", "uplink", u.Name, "err", err)
		u.launchAt = time.Now().Add(u.retry.failed())
		u.ensure()
		return
	}
	u.box, u.running, u.startedAt = box, of, time.Now()
	u.sup.reaping.Go(func() { u.watch(box) })
	if u.stopping || u.link != nil && u.link.gone {
		u.kill()
		_ = conn.Close()
		return
	}
	u.app = u.sup.admitUplink(u, box, conn)
	u.sup.changed.Broadcast()
}

// start launches the process in its sandbox.
func (u *uplink) start(of *program) (*sandbox.Process, *broker.Conn, error) {
	config, err := u.describe()
	if err != nil {
		return nil, nil, err
	}
	conn, there, err := broker.Pair()
	if err != nil {
		return nil, nil, fmt.Errorf("make a control connection: %w", err)
	}
	defer there.Close()
	read, write, err := os.Pipe()
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("make a pipe for an uplink's log: %w", err)
	}
	defer write.Close()
	profile := sandbox.Profile{Name: "uplink/" + u.Name, Calls: sandbox.LinkCalls, Limits: sandbox.Limits{MemoryBytes: u.Memory}}
	if u.Kind == topology.User {
		profile.Calls = sandbox.SocketCalls
	}
	files := append([]*os.File{there}, u.listeners...)
	if u.link != nil {
		files = append(files, u.link.files...)
	}
	box, err := u.sup.launcher.Start(sandbox.Spec{
		Path: of.path, File: of.file, Args: []string{"internal", "uplink"}, Env: []string{UplinkVariable + "=" + string(config)},
		Files: files, Stderr: write, Profile: profile,
	})
	if err != nil {
		_ = conn.Close()
		_ = read.Close()
		return nil, nil, err
	}
	go logLines(u.Name, box.Pid, read)
	return box, conn, nil
}

// watch waits for the end of the process and replaces it.
func (u *uplink) watch(box *sandbox.Process) {
	_ = box.Pidfd.Wait()
	state, err := box.Reap()
	end := fmt.Sprint(state)
	if err != nil {
		end = err.Error()
	}
	u.sup.mu.Lock()
	defer u.sup.mu.Unlock()
	u.box, u.app = nil, nil
	u.deaths++
	u.lastDeath = end
	slog.Info("uplink ended", "uplink", u.Name, "pid", box.Pid, "end", end)
	if time.Since(u.startedAt) > u.retry.Reset {
		u.retry.progressed()
	}
	u.launchAt = time.Now().Add(u.retry.failed())
	u.ensure()
}

func (s *Supervisor) uplinkByName(name string) *uplink {
	for _, each := range s.uplinks {
		if each.Name == name {
			return each
		}
	}
	return nil
}

// controlUplink kills the process of an uplink, or has it replaced. Supervisor.mu is
// held.
func (a *application) controlUplink(ref uint64, verb string, u *uplink) error {
	if u.box == nil {
		return broker.Refuse(broker.CodeDown, "uplink %s has no process now (%s)", u.Name, u.why())
	}
	if verb == VerbKill {
		u.retry.progressed() // its end is asked for, and is no failure
		u.kill()
		return a.report(ref, Killed{PID: u.box.Pid})
	}
	go func() {
		next, err := a.sup.adopt()
		a.sup.mu.Lock()
		defer a.sup.mu.Unlock()
		if err == nil {
			err = u.replace(next)
		}
		if err == nil {
			err = a.report(ref, a.sup.stateLocked())
		}
		if err != nil {
			a.reply(ref, asRefusal(err))
		}
	}()
	return nil
}

// replace ends the process and waits until one of that program serves; if none does,
// the uplink returns to the program it had. Supervisor.mu is held, and released while
// waiting.
func (u *uplink) replace(next *program) error {
	old := u.program
	u.program = next
	u.retry.progressed() // its end is asked for, and is no failure
	err := u.await(next)
	if err != nil && u.program == next {
		u.program = old
		u.kill()
	}
	return err
}

// await waits until a process of that program serves, and ends any other.
// Supervisor.mu is held, and released while waiting.
func (u *uplink) await(next *program) error {
	deadline := time.Now().Add(drainMax)
	late := time.AfterFunc(drainMax, func() {
		u.sup.mu.Lock()
		defer u.sup.mu.Unlock()
		u.sup.changed.Broadcast()
	})
	defer late.Stop()
	for u.box == nil || u.running != next || !u.serving() {
		if u.stopping || time.Now().After(deadline) {
			return broker.Refuse(broker.CodeDown, "replacing uplink %s took too long (%s)", u.Name, u.why())
		}
		if u.running != next {
			u.kill()
		}
		u.sup.changed.Wait()
	}
	return nil
}

// why says why the uplink does not serve. Supervisor.mu is held.
func (u *uplink) why() string {
	if u.trouble != "" {
		return u.trouble
	}
	return "last end: " + u.lastDeath
}

// serving tells whether the uplink has its port. Supervisor.mu is held.
func (u *uplink) serving() bool { return u.app != nil && len(u.app.sessions) > 0 }

// kill ends the process; watch sees it.
func (u *uplink) kill() {
	if u.box != nil {
		_ = u.box.Pidfd.Signal(sigkill) // it may have ended
	}
}

// stop ends the process for good. Supervisor.mu is held, and released while
// waiting.
func (u *uplink) stop() {
	u.stopping = true
	u.kill()
	for u.box != nil || u.launching {
		u.sup.changed.Wait()
	}
}

// close gives back what was taken of the host.
func (u *uplink) close() {
	for _, f := range u.listeners {
		_ = f.Close()
	}
	if u.link != nil {
		u.link.close()
	}
}

// admitUplink makes the process of an uplink an application. Supervisor.mu is held.
func (s *Supervisor) admitUplink(u *uplink, box *sandbox.Process, conn *broker.Conn) *application {
	pidfd, err := unix.OpenPidfd(box.Pid)
	if err != nil {
		u.kill()
		return nil
	}
	app := &application{sup: s, conn: conn, peer: unix.Peer{PID: box.Pid, UID: s.kept.own}, pidfd: pidfd,
		uplink: u, sessions: make(map[uint64]*session), answers: make(chan answer, answersMax)}
	if refusal := s.kept.enter(app.peer.UID); refusal != nil {
		slog.Error("admit an uplink", "uplink", u.Name, "err", refusal)
		u.kill()
		_ = pidfd.Close()
		_ = conn.Close()
		return nil
	}
	s.applications[app] = true
	app.start()
	return app
}
