package supervisor

import (
	"os"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
)

// TestAQueuedMessageHoldsItsFiles: what is sent to a process that does not read is the
// file that was meant, whoever has let go of it and whatever has its number since.
func TestAQueuedMessageHoldsItsFiles(t *testing.T) {
	conn, there, err := broker.Pair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := broker.FileConn(there)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	p := &process{name: "test", conn: conn, pending: make(map[uint64]pending), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	go p.sendAll()
	defer func() { close(p.stop); conn.Close() }()
	var via disposal
	const messages = 2000 // more than a socket holds
	var sizes []int64
	closed := make(chan int64, messages)
	for i := range int64(messages) {
		fd, err := unix.CreateMemfd("test", i)
		if err != nil {
			t.Fatal(err)
		}
		file := newDescriptor(fd, &via, func() { closed <- i })
		p.send(&broker.Counters{Bytes: i}, nil, file)
		file.release()
		sizes = append(sizes, i)
	}
	if p.waiting() == 0 {
		t.Fatal("nothing waits: the test tests nothing")
	}
	for _, want := range sizes {
		m, err := theirs.Receive()
		if err != nil {
			t.Fatal(err)
		}
		size, err := unix.FileSize(m.FDs[0])
		if err != nil || size != want || m.Body.(*broker.Counters).Bytes != want {
			t.Fatalf("%+v came with a file of %d bytes, %v", m.Body, size, err)
		}
		m.CloseFDs()
	}
	for range messages {
		<-closed
	}
}

// TestDescriptorsAreClosedInOrder, once, when the last holder lets go.
func TestDescriptorsAreClosedInOrder(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := unix.Dup(int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	var via disposal
	var order []int
	done := make(chan struct{})
	d := newDescriptor(fd, &via, func() { order = append(order, 1) })
	second := d.hold()
	d.release()
	via.put(func() { order = append(order, 0) })
	second.release()
	via.put(func() { close(done) })
	<-done
	if len(order) != 2 || order[0] != 0 || order[1] != 1 {
		t.Errorf("closed in the order %v", order)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("the file is still open")
	}
	var none *descriptor
	none.release()
}

// TestAProcessMissesNoMessage: one that cannot be told something, though it is there,
// is replaced by another that is told everything.
func TestAProcessMissesNoMessage(t *testing.T) {
	s := start(t)
	store := s.servers[0]
	s.mu.Lock()
	standby := store.standby
	var via disposal
	none := newDescriptor(-1, &via, nil)
	standby.send(&broker.Counters{}, nil, none)
	none.release()
	for store.standby == standby {
		s.changed.Wait()
	}
	s.mu.Unlock()
	wait(t, s)
	if _, err := openSession(t, connect(t, s)); err != nil {
		t.Error(err)
	}
}
