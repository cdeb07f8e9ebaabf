package supervisor

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// Verbs of broker.Control.
const (
	VerbState   = "ps"      // answers State
	VerbKill    = "kill"    // SIGKILL to the (active) process of Target; answers Killed
	VerbRestart = "restart" // drain Target and hand over to a new process; answers State. An uplink is replaced
	VerbDown    = "down"    // end the system; answers when it has begun
	VerbDomain  = "domain"  // Target as the name of the caller and its children; answers Domain
)

// domainsMax bounds the domains that `quintet run` may have at a time.
const domainsMax = 1024

// askersMax bounds those who have asked for the end and are kept waiting for it.
const askersMax = 16

// domain is an application named by `quintet run`. It ends with its connection.
type domain struct {
	name    string
	app     *application
	release func() // of its cgroup, if it has one
}

// Killed answers VerbKill.
type Killed struct {
	PID int `json:"pid"`
}

// Domain answers VerbDomain: the token for broker.DomainVariable, and how the topology
// says the application is started, if it does.
type Domain struct {
	Token       string            `json:"token"`
	Command     []string          `json:"command,omitempty"`
	Directory   string            `json:"directory,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
	// Networks are those that the application may use.
	Networks []string `json:"networks,omitempty"`
	// Unlimited says why the memory that the topology sets is not enforced.
	Unlimited string `json:"unlimited,omitempty"`
}

// control runs an operation on the system. Only root and the supervisor's own user
// may; everybody may look, see reportState. Supervisor.mu is held.
func (a *application) control(ref uint64, c *broker.Control) error {
	if err := a.mayControl(c.Verb); err != nil {
		return err
	}
	var target *server
	if c.Verb == VerbKill || c.Verb == VerbRestart {
		if u := a.sup.uplinkByName(c.Target); u != nil {
			return a.controlUplink(ref, c.Verb, u)
		}
		if target = a.sup.serverByName(c.Target); target == nil {
			return broker.Refuse(broker.CodeNotFound, "there is no server or uplink %q; there are: %s", c.Target, a.sup.serverNames())
		}
	}
	switch c.Verb {
	case VerbKill:
		if target.active == nil {
			return broker.Refuse(broker.CodeDown, "server %s has no active process now; it is %s", c.Target, target.phase())
		}
		target.active.asked = true
		target.active.kill()
		return a.report(ref, Killed{PID: target.active.pid})
	case VerbRestart:
		go a.restart(ref, target)
		return nil
	case VerbDown:
		if err := a.report(ref, struct{}{}); err != nil {
			return err
		}
		// Whoever asks waits for the end of the connection, and so for that of everything.
		if len(a.sup.askers) < askersMax {
			if f, err := a.conn.Socket().File(); err == nil {
				a.sup.askers = append(a.sup.askers, f)
			}
		}
		a.sup.down()
		return nil
	case VerbDomain:
		if len(a.sup.tokens) >= domainsMax {
			return broker.Refuse(broker.CodeLimit, "there are %d domains already", domainsMax)
		}
		declared, ok := a.sup.config.Topology.Application(c.Target)
		if !ok {
			return broker.Refuse(broker.CodeNotFound, "the topology has no application %q; add it, or choose another with --name", c.Target)
		}
		go a.domainOf(ref, declared)
		return nil
	}
	return broker.Refuse(broker.CodeMalformed, "unknown control verb %q", c.Verb)
}

// mayControl refuses users who may only look.
func (a *application) mayControl(verb string) error {
	if uid := a.peer.UID; uid != 0 && uid != uint32(os.Geteuid()) {
		return broker.Refuse(broker.CodeDenied, "only root and uid %d may %s", os.Geteuid(), verb)
	}
	return nil
}

// domainOf makes the caller, and the program it is about to start, a domain.
func (a *application) domainOf(ref uint64, declared topology.Application) {
	d := &domain{name: declared.Name, app: a}
	answer := Domain{
		Token: rand.Text(), Command: declared.Command, Directory: declared.Directory, Environment: declared.Environment,
	}
	for _, p := range a.sup.config.Topology.Ports {
		if p.To == declared.Name {
			answer.Networks = append(answer.Networks, p.Network)
		}
	}
	if declared.Memory > 0 {
		var err error
		if d.release, err = a.sup.launcher.LimitMemory(a.peer.PID, declared.Memory); err != nil {
			answer.Unlimited = err.Error()
		}
	}
	a.sup.mu.Lock()
	defer a.sup.mu.Unlock()
	if a.gone {
		go d.end()
		return
	}
	a.sup.tokens[answer.Token] = d
	if err := a.report(ref, answer); err != nil {
		a.reply(ref, broker.Refuse(broker.CodeInternal, "make a domain: %v", err))
	}
}

// end removes the domain's cgroup when the process that asked for it has ended;
// what that has left running keeps the group, and its limit, until the next
// supervisor sweeps.
func (d *domain) end() {
	if d.release == nil {
		return
	}
	pidfd, err := unix.OpenPidfd(d.app.peer.PID)
	if err != nil {
		d.release() // it has ended already
		return
	}
	go func() {
		defer pidfd.Close()
		_ = pidfd.Wait()
		d.release()
	}()
}

// report answers with JSON in a memory file. Supervisor.mu is held: of what is long,
// see reportState.
func (a *application) report(ref uint64, v any) error {
	fd, bytes, err := reportFile(v)
	if err != nil {
		return err
	}
	return a.sendReport(ref, fd, bytes)
}

// reportState answers with the state of the system. It is written out without locks.
func (a *application) reportState(ref uint64) error {
	a.sup.mu.Lock()
	err := a.mayAsk()
	var state State
	if err == nil {
		state = a.sup.stateLocked()
	}
	a.sup.mu.Unlock()
	if err != nil {
		return err
	}
	fd, bytes, err := reportFile(state)
	if err != nil {
		return err
	}
	a.sup.mu.Lock()
	defer a.sup.mu.Unlock()
	return a.sendReport(ref, fd, bytes)
}

// sendReport answers with a file of so many bytes. Supervisor.mu is held.
func (a *application) sendReport(ref uint64, fd int, bytes int64) error {
	if refusal := a.sup.kept.take(a.peer.UID, 1); refusal != nil {
		unix.CloseAll([]int{fd})
		return refusal
	}
	a.reply(ref, &broker.Report{Bytes: bytes}, a.own(fd))
	return nil
}

func reportFile(v any) (fd int, bytes int64, err error) {
	p, err := json.Marshal(v)
	if err != nil {
		return -1, 0, err
	}
	if fd, err = unix.CreateMemfd("quintet-report", int64(len(p))); err != nil {
		return -1, 0, err
	}
	if err := unix.WriteAll(fd, p); err != nil {
		unix.CloseAll([]int{fd})
		return -1, 0, err
	}
	return fd, int64(len(p)), nil
}

func (a *application) restart(ref uint64, target *server) {
	a.sup.mu.Lock()
	defer a.sup.mu.Unlock()
	err := target.restart()
	if err == nil {
		err = a.report(ref, a.sup.stateLocked())
	}
	var refused *broker.Refused
	switch {
	case errors.As(err, &refused):
		a.reply(ref, refused)
	case err != nil:
		a.reply(ref, broker.Refuse(broker.CodeInternal, "restart %s: %v", target.config.Name, err))
	}
}
