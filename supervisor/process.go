package supervisor

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/sandbox"
)

const (
	// logLineMax bounds a line of a server's log, in bytes; the rest is dropped.
	logLineMax = 4 << 10
	// logLinesPerSecond bounds how much a server in trouble can log.
	logLinesPerSecond = 50
	// queueMax is the number of messages waiting for one process beyond which its
	// server is given no new sessions and regions.
	queueMax = 1 << 16
)

// process is one server process: its identity, its control connection, and the
// messages that wait to be sent to it.
//
// Applications are refused what would be queued beyond queueMax. What a new
// process is told of the supervisor's keep, and the end of sessions, is queued in
// any case; quota bounds it. The queue has one sender, so a server that is stopped
// blocks nobody else.
type process struct {
	name    string
	program *program
	pid     int
	box     *sandbox.Process
	conn    *broker.Conn
	since   time.Time
	hung    bool  // killed because it hung; guarded by Supervisor.mu
	limit   int64 // of its memory, in bytes; guarded by Supervisor.mu
	asked   bool  // its end was asked for, and is no failure; guarded by Supervisor.mu

	mu      sync.Mutex // a leaf, below Supervisor.mu
	queue   []outgoing
	sending bool // sendAll has taken a message out of queue
	pending map[uint64]pending
	lastRef uint64
	closed  bool
	wake    chan struct{} // one token
	stop    chan struct{} // closed by release
}

// outgoing is a message to send. It holds its files until it has left.
type outgoing struct {
	ref   uint64
	body  broker.Body
	files []*descriptor
	since time.Time
}

// pending is a message that the server has to answer.
type pending struct {
	done  func()
	since time.Time
}

func newProcess(name string, of *program, box *sandbox.Process, conn *broker.Conn) *process {
	p := &process{
		name: name, program: of, pid: box.Pid, box: box, conn: conn, since: time.Now(),
		pending: make(map[uint64]pending), wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	go p.sendAll()
	return p
}

// send queues a message. done, if not nil, is called once when the server has
// answered it, and never if the server dies first; it is called without locks.
// Unless others wait or the server is slow to read, the message has left when
// send returns, which saves the takeover a wake-up. The files stay the caller's, who
// may release them at once.
func (p *process) send(body broker.Body, done func(), files ...*descriptor) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	m := outgoing{body: body, files: files}
	if done != nil {
		p.lastRef++
		m.ref = p.lastRef
		p.pending[m.ref] = pending{done: done, since: time.Now()}
	}
	if len(p.queue) == 0 && !p.sending {
		if sent, err := p.conn.TrySend(m.ref, m.body, numbers(files)...); sent || err != nil {
			p.mu.Unlock()
			p.sent(err)
			return
		}
	}
	m.since = time.Now()
	for _, each := range files {
		each.hold()
	}
	p.queue = append(p.queue, m)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *process) sendAll() {
	for {
		select {
		case <-p.wake:
		case <-p.stop:
			return
		}
		for {
			p.mu.Lock()
			p.sending = len(p.queue) > 0 && !p.closed
			if !p.sending {
				p.mu.Unlock()
				break
			}
			m := p.queue[0]
			p.queue = p.queue[1:]
			p.mu.Unlock()
			p.sent(p.conn.Send(m.ref, m.body, numbers(m.files)...))
			releaseAll(m.files)
		}
	}
}

// sent notes whether a message has left. A process that misses one is of no use any
// more, and another is told everything: it ends, unless it has already.
func (p *process) sent(err error) {
	if err != nil && !broker.Lost(err) {
		slog.Error("send to a server: killing it", "server", p.name, "pid", p.pid, "err", err)
		p.kill()
	}
}

// answered calls the done of a message.
func (p *process) answered(ref uint64) {
	p.mu.Lock()
	m, ok := p.pending[ref]
	delete(p.pending, ref)
	p.mu.Unlock()
	if ok {
		m.done()
	}
}

// waiting is the number of messages that have not left.
func (p *process) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue)
}

// unanswered is the age of the oldest message that has not left or has no answer.
func (p *process) unanswered(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var oldest time.Duration
	for _, m := range p.pending {
		oldest = max(oldest, now.Sub(m.since))
	}
	if len(p.queue) > 0 {
		oldest = max(oldest, now.Sub(p.queue[0].since))
	}
	return oldest
}

// kill ends the process with SIGKILL, which a stopped process cannot delay.
func (p *process) kill() {
	if err := p.box.Pidfd.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrClosed) {
		slog.Error("kill a server", "server", p.name, "pid", p.pid, "err", err)
	}
}

// bury reaps a process that has ended or been killed, closes everything of it
// and tells how it ended.
func (p *process) bury() string {
	p.mu.Lock()
	p.closed = true
	queue := p.queue
	p.queue, p.pending = nil, nil
	close(p.stop)
	p.mu.Unlock()
	for _, m := range queue {
		releaseAll(m.files)
	}
	_ = p.conn.Close()
	state, err := p.box.Reap()
	if err != nil {
		return err.Error()
	}
	return state.String()
}

// logLines passes a server's standard error to the log until its end.
func logLines(server string, pid int, r io.ReadCloser) {
	defer r.Close()
	lines := bufio.NewReaderSize(r, logLineMax)
	var second time.Time
	count := 0
	for {
		line, prefix, err := lines.ReadLine()
		if err != nil {
			return
		}
		for skip := prefix; skip && err == nil; {
			_, skip, err = lines.ReadLine()
		}
		if now := time.Now(); now.Sub(second) > time.Second {
			second, count = now, 0
		}
		if count++; count <= logLinesPerSecond {
			slog.Warn("server says", "server", server, "pid", pid, "line", string(line))
		}
	}
}
