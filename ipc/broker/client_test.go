package broker

import (
	"context"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
)

const patience = 30 * time.Second

// greeted returns a client and the supervisor's end of its connection.
func greeted(t *testing.T) (*Client, *Conn) {
	t.Helper()
	here, there := pair(t)
	welcomed := make(chan error, 1)
	go func() {
		m, err := there.Receive()
		if err == nil {
			err = there.Send(m.Ref, &Welcome{})
		}
		welcomed <- err
	}()
	c, err := NewClientOn(t.Context(), here, Hello{Name: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-welcomed; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, there
}

// eventually fails the test if f does not return.
func eventually(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s does not end", what)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestWhatCannotBeSent is an error of the question, and the connection goes on.
func TestWhatCannotBeSent(t *testing.T) {
	c, there := greeted(t)
	eventually(t, "a question that cannot be sent", func() {
		if _, err := c.Ask(t.Context(), &Grant{}, -1); err == nil || errors.Is(err, ErrDisconnected) {
			t.Errorf("a descriptor that is not open: %v", err)
		}
		if _, err := c.Ask(t.Context(), &Control{Target: string(make([]byte, MessageMax))}); err == nil {
			t.Error("a message that is too long was sent")
		}
	})
	if err := c.Tell(&Ready{}); err != nil {
		t.Error(err)
	}
	if m, err := there.Receive(); err != nil {
		t.Errorf("received %v, %v", m, err)
	}
}

// TestContextEndsSending: a supervisor that reads nothing keeps nobody waiting longer
// than he wants, and what comes of the connection later is not harmed.
func TestContextEndsSending(t *testing.T) {
	c, there := greeted(t)
	ctx, cancel := context.WithCancel(t.Context())
	const asking = 4
	var ended [asking]chan int
	for i := range ended {
		ended[i] = make(chan int, 1)
		go func() {
			n := 0
			for ctx.Err() == nil {
				once, stop := context.WithTimeout(ctx, time.Millisecond)
				_, err := c.Ask(once, &Resolve{Network: string(make([]byte, 2000))})
				stop()
				if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					t.Errorf("asked a supervisor that reads nothing: %v", err)
				}
				if n++; n == 200 {
					break
				}
			}
			ended[i] <- n
		}()
	}
	eventually(t, "asking", func() {
		for i := range ended {
			<-ended[i]
		}
	})
	cancel()
	go func() {
		for {
			m, err := there.Receive()
			if err != nil {
				return
			}
			_ = there.Send(m.Ref, &Resolved{})
		}
	}()
	eventually(t, "a question later", func() {
		if _, err := c.Ask(t.Context(), &Resolve{}); err != nil {
			t.Error(err)
		}
	})
}

// TestQuestionsWithoutAnswers: a client asks no more at once than the supervisor keeps
// answers for, those included whose askers have gone.
func TestQuestionsWithoutAnswers(t *testing.T) {
	c, there := greeted(t)
	var refs []uint64
	for range askedMax {
		ctx, cancel := context.WithCancel(t.Context())
		asked := make(chan error, 1)
		go func() {
			_, err := c.Ask(ctx, &Resolve{})
			asked <- err
		}()
		m, err := there.Receive()
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, m.Ref)
		cancel()
		if err := <-asked; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	before := c.lastRef
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Ask(ended, &Resolve{}); !errors.Is(err, context.Canceled) || c.lastRef != before {
		t.Fatalf("one question too many is number %d after %d: %v", c.lastRef, before, err)
	}
	eventually(t, "asking when there are answers", func() {
		all := make(chan error)
		for range 3 * askedMax {
			go func() {
				_, err := c.Ask(t.Context(), &Resolve{})
				all <- err
			}()
		}
		go func() {
			for _, ref := range refs {
				_ = there.Send(ref, &Resolved{})
			}
			for {
				m, err := there.Receive()
				if err != nil {
					return
				}
				_ = there.Send(m.Ref, &Resolved{})
			}
		}()
		for range 3 * askedMax {
			if err := <-all; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestAnAnswerThatComesLate leaves nothing behind: its descriptors are closed, and the
// session it brings is ended.
func TestAnAnswerThatComesLate(t *testing.T) {
	c, there := greeted(t)
	memory, err := unix.CreateMemfd("test", 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(memory)
	before := descriptors(t)
	for round := range uint64(100) {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		asked := make(chan error, 1)
		go func() {
			m, err := c.Ask(ctx, &Connect{Volume: "v", Geometry: ipc.Geometry{Slots: 1}}, memory)
			m.CloseFDs()
			asked <- err
		}()
		m, err := there.Receive()
		if err != nil {
			t.Fatal(err)
		}
		m.CloseFDs()
		if round%2 == 0 { // otherwise the answer and the end race
			cancel()
			if err := <-asked; !errors.Is(err, context.Canceled) {
				t.Fatalf("cancelled: %v", err)
			}
		}
		if err := there.Send(m.Ref, &Connected{Session: round}, memory, memory); err != nil {
			t.Fatal(err)
		}
		if round%2 != 0 {
			cancel()
			if err := <-asked; err == nil {
				continue
			}
		}
		m, err = there.Receive()
		if err != nil {
			t.Fatal(err)
		}
		end, is := m.Body.(*Close)
		if !is || end.Session != round {
			t.Fatalf("a session that nobody took is followed by %T %+v", m.Body, m.Body)
		}
		if err := there.Send(m.Ref, &Closed{}); err != nil {
			t.Fatal(err)
		}
	}
	if now := descriptors(t); now > before+4 {
		t.Errorf("%d descriptors before, %d after", before, now)
	}
}

// TestNoRoomForAnAnswer: a program whose table of open files is full loses the answer,
// and not its connection.
func TestNoRoomForAnAnswer(t *testing.T) {
	c, there := greeted(t)
	memory, err := unix.CreateMemfd("test", 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(memory)
	soft, hard, err := unix.Limits(unix.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	go func() {
		_, err := c.Ask(t.Context(), &Connect{Volume: "v"}, memory)
		asked <- err
	}()
	m, err := there.Receive()
	if err != nil {
		t.Fatal(err)
	}
	m.CloseFDs()
	next, err := unix.Dup(memory) // the lowest that is free
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseAll([]int{next})
	if err := unix.SetLimits(unix.LimitDescriptors, uint64(next)+1, hard); err != nil { // one fits
		t.Fatal(err)
	}
	sendErr := there.Send(m.Ref, &Connected{Session: 9}, memory, memory)
	answered := <-asked
	if err := unix.SetLimits(unix.LimitDescriptors, soft, hard); err != nil {
		t.Fatal(err)
	}
	if sendErr != nil || !errors.Is(answered, ErrNoRoom) {
		t.Errorf("sent: %v; answered: %v", sendErr, answered)
	}
	if m, err := there.Receive(); err != nil || m.Body.(*Close).Session != 9 {
		t.Errorf("the session is followed by %+v, %v", m.Body, err)
	}
}

// TestEmptyPackets are no message, with descriptors or without, and not the end.
func TestEmptyPackets(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, fds := range [][]int{nil, {int(w.Fd())}} {
		a, b := pair(t)
		if err := unix.SendPacket(a.Socket(), nil, fds...); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Receive(); !errors.Is(err, ErrMalformed) {
			t.Errorf("an empty packet with %d descriptors: %v", len(fds), err)
		}
	}
	w.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("there is something in the pipe")
	}
}

// TestNames: what an application calls itself is one line of printable text.
func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"web-1": true, "": true, "a b": true, "käse": true, "a\nb": false, "\x1b[2Jx": false, "a\x00": false,
		"a\u202eb": false, "a\xff": false, "a\u2028b": false, string(make([]byte, NameMax+1)): false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
		if made := PrintableName(name); CheckName(made) != nil || good && made != name {
			t.Errorf("%q was made %q", name, made)
		}
	}
}

// TestWhatServersSayIsPrintable, wherever it is shown.
func TestWhatServersSayIsPrintable(t *testing.T) {
	a, b := pair(t)
	const bad, good = "x\x1b[2J\ny", "x_[2J_y"
	for _, c := range []struct{ said, want Body }{
		{&Ready{Degraded: []string{bad}, Release: bad}, &Ready{Degraded: []string{good}, Release: good}},
		{&SessionFailed{Reason: bad}, &SessionFailed{Reason: good}},
		{&VolumeFailed{Reason: bad}, &VolumeFailed{Reason: good}},
		{&Leased{Failed: bad}, &Leased{Failed: good}},
	} {
		if err := a.Send(0, c.said); err != nil {
			t.Fatal(err)
		}
		if m, err := b.Receive(); err != nil || !reflect.DeepEqual(m.Body, c.want) {
			t.Errorf("%+v came as %+v, %v", c.said, m.Body, err)
		}
	}
}
