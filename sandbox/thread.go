package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
)

// filesAtOnce bounds the descriptors of one packet to the launching thread; the kernel
// allows 253.
const filesAtOnce = 128

// thread is the launching thread. It has a table of open files of its own: a new
// process inherits a copy of the table of the thread that makes it and closes what is
// not its own before it runs, and closing a file that a stranger has passed to the
// supervisor can take for as long as he likes. So what strangers pass is never in this
// table. What a process is to have is sent here.
type thread struct {
	requests chan func()
	done     chan struct{}
	here     *net.UnixConn // of those who ask
	there    *net.UnixConn // in both tables, under the same number
}

// execution is a program to be started, with the descriptors that it will have.
type execution struct {
	path       string
	args, env  []string
	files      []*os.File // 0, 1, 2 ...
	attributes *syscall.SysProcAttr
	cgroup     *os.File // for attributes; may be nil
}

func newThread() (*thread, error) {
	a, b, err := unix.SocketPair()
	if err != nil {
		return nil, err
	}
	t := &thread{requests: make(chan func()), done: make(chan struct{})}
	for _, end := range []struct {
		file *os.File
		conn **net.UnixConn
	}{{a, &t.here}, {b, &t.there}} {
		conn, connErr := net.FileConn(end.file)
		_ = end.file.Close()
		if connErr != nil {
			err = errors.Join(err, connErr)
			continue
		}
		*end.conn = conn.(*net.UnixConn)
	}
	if err != nil {
		t.closeConns()
		return nil, err
	}
	started := make(chan error)
	go t.run(started)
	if err := <-started; err != nil {
		t.closeConns()
		return nil, err
	}
	return t, nil
}

// close ends the thread, and with it every process it has started.
func (t *thread) close() {
	close(t.done)
	t.closeConns()
}

func (t *thread) closeConns() {
	for _, each := range []*net.UnixConn{t.here, t.there} {
		if each != nil {
			_ = each.Close()
		}
	}
}

func (t *thread) run(started chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if unix.OnMainThread() {
		// This one does not end, and /proc/self shows its files. While it is locked here,
		// another goroutine gets another.
		other := make(chan error)
		go t.run(other)
		started <- <-other
		runtime.UnlockOSThread()
		return
	}
	err := t.own()
	started <- err
	for err == nil {
		select {
		case start := <-t.requests:
			start()
		case <-t.done:
			return
		}
	}
}

func (t *thread) own() error {
	raw, err := t.there.SyscallConn()
	if err != nil {
		return err
	}
	var ownErr error
	err = raw.Control(func(fd uintptr) { ownErr = unix.OwnFiles(int(fd)) })
	return errors.Join(err, ownErr)
}

// execute starts a program; ok is false after the end of the thread. One call at a
// time.
func (t *thread) execute(e *execution) (pid int, ok bool, err error) {
	files := e.files
	if e.cgroup != nil {
		files = append(files[:len(files):len(files)], e.cgroup)
	}
	packets, sendErr := t.send(files)
	finished := make(chan struct{})
	select {
	case <-t.done:
		return 0, false, nil
	case t.requests <- func() {
		defer close(finished)
		received, receiveErr := t.receive(packets)
		defer unix.CloseAll(received)
		if err = errors.Join(sendErr, receiveErr); err == nil {
			pid, err = e.start(received)
		}
	}:
	}
	<-finished
	return pid, true, err
}

// send passes files to the thread's table and tells in how many packets.
func (t *thread) send(files []*os.File) (packets int, err error) {
	for ; len(files) > 0; packets++ {
		n := min(len(files), filesAtOnce)
		fds := make([]int, n)
		for i, each := range files[:n] {
			fds[i] = int(each.Fd())
		}
		if err := unix.SendPacket(t.here, []byte{0}, fds...); err != nil {
			return packets, fmt.Errorf("pass descriptors to the launching thread: %w", err)
		}
		files = files[n:]
	}
	return packets, nil
}

// receive takes so many packets, whatever comes of them.
func (t *thread) receive(packets int) (received []int, err error) {
	for range packets {
		_, fds, packetErr := unix.ReceivePacket(t.there, make([]byte, 1), filesAtOnce, true)
		if packetErr != nil {
			err = errors.Join(err, fmt.Errorf("receive descriptors for a process: %w", packetErr))
		}
		received = append(received, fds...)
	}
	return received, err
}

// start starts the program with files of the thread's table.
func (e *execution) start(files []int) (pid int, err error) {
	if e.cgroup != nil {
		last := len(files) - 1
		e.attributes.UseCgroupFD, e.attributes.CgroupFD = true, files[last]
		files = files[:last]
	}
	return unix.Execute(e.path, e.args, e.env, files, e.attributes)
}
