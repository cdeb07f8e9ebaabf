package supervisor

import (
	"sync"
	"sync/atomic"

	"github.com/quintet-os/quintet/internal/unix"
)

// disposal closes what one application has handed over, one after the other, on a
// goroutine that lives while there is something to close. Closing a stranger's file
// can take for ever: a socket lingers for as long as it was told to, a file of FUSE
// waits for its maker, and much memory takes its time. Here it holds up nothing but
// what the same application handed over. What waits is bounded by quota, which gets a
// descriptor back when it is closed. The zero value is ready.
type disposal struct {
	mu      sync.Mutex // a leaf, below Supervisor.mu
	waiting []func()
	running bool
}

// put has end called, after all that was put before. It does not block.
func (d *disposal) put(end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, end)
	if !d.running {
		d.running = true
		go d.run()
	}
}

func (d *disposal) run() {
	for {
		d.mu.Lock()
		if len(d.waiting) == 0 {
			d.running = false
			d.mu.Unlock()
			return
		}
		end := d.waiting[0]
		d.waiting = d.waiting[1:]
		d.mu.Unlock()
		end()
	}
}

// descriptor is an open file that several hold: what it is kept for, and each message
// that it waits in. It is closed when the last lets go, so that no message ever leaves
// with a number that has become another file's. All methods may be called from any
// goroutine, with Supervisor.mu held or not, and do not block.
type descriptor struct {
	fd     int
	holds  atomic.Int32
	via    *disposal
	closed func() // may be nil
}

// newDescriptor takes fd over; the caller holds it. closed is called, without locks,
// when it has been closed by way of via.
func newDescriptor(fd int, via *disposal, closed func()) *descriptor {
	d := &descriptor{fd: fd, via: via, closed: closed}
	d.holds.Store(1)
	return d
}

// hold adds a holder.
func (d *descriptor) hold() *descriptor {
	d.holds.Add(1)
	return d
}

// release ends the hold of one holder. Of no descriptor it does nothing.
func (d *descriptor) release() {
	if d == nil || d.holds.Add(-1) > 0 {
		return
	}
	d.via.put(func() {
		unix.CloseAll([]int{d.fd})
		if d.closed != nil {
			d.closed()
		}
	})
}

func releaseAll(files []*descriptor) {
	for _, each := range files {
		each.release()
	}
}

func numbers(files []*descriptor) []int {
	fds := make([]int, len(files))
	for i, each := range files {
		fds[i] = each.fd
	}
	return fds
}
