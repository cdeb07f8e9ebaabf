package unix

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	sys "golang.org/x/sys/unix"
)

func packetPair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fa, fb, err := SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]*net.UnixConn, 2)
	for i, f := range []*os.File{fa, fb} {
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return conns[0], conns[1]
}

func TestPacketCarriesDescriptors(t *testing.T) {
	a, b := packetPair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := SendPacket(a, []byte("pipe"), int(w.Fd())); err != nil {
		t.Fatal(err)
	}
	w.Close()
	p := make([]byte, 16)
	n, fds, err := ReceivePacket(b, p, 8, true)
	if err != nil || string(p[:n]) != "pipe" || len(fds) != 1 {
		t.Fatalf("received %q, %d descriptors, %v", p[:n], len(fds), err)
	}
	received := os.NewFile(uintptr(fds[0]), "received")
	received.WriteString("x")
	received.Close()
	if n, err := r.Read(p); n != 1 || err != nil {
		t.Fatalf("read %d bytes, %v through the received descriptor", n, err)
	}
}

func TestPacketWithoutWaitingIsEAGAIN(t *testing.T) {
	_, b := packetPair(t)
	if _, _, err := ReceivePacket(b, make([]byte, 1), 8, false); !errors.Is(err, sys.EAGAIN) {
		t.Fatalf("got %v, want EAGAIN", err)
	}
}

func TestTruncatedPacketClosesItsDescriptors(t *testing.T) {
	a, b := packetPair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := SendPacket(a, []byte(strings.Repeat("x", 100)), int(w.Fd())); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, _, err := ReceivePacket(b, make([]byte, 8), 8, true); !errors.Is(err, ErrTruncated) {
		t.Fatalf("got %v, want ErrTruncated", err)
	}
	// Every write end is closed, so the pipe is at its end.
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatalf("the pipe is still open: read %d, %v", n, err)
	}
}

func TestClosedPeerIsZeroLength(t *testing.T) {
	a, b := packetPair(t)
	a.Close()
	if n, _, err := ReceivePacket(b, make([]byte, 8), 8, true); n != 0 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
}

func TestPeerIsThisProcess(t *testing.T) {
	a, _ := packetPair(t)
	peer, err := PeerOf(a)
	if err != nil || peer.PID != os.Getpid() || peer.UID != uint32(os.Getuid()) {
		t.Fatalf("got %+v, %v", peer, err)
	}
	pidfd, err := PeerPidfd(a)
	if err != nil {
		t.Fatal(err)
	}
	defer pidfd.Close()
	if pidfd.Ended() {
		t.Fatal("this process is said to have ended")
	}
}

func TestPidfdSeesDeath(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := OpenPidfd(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if p.Ended() {
		t.Fatal("ended before the signal")
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if !p.EndedBy(syscall.SIGKILL) || p.EndedBy(syscall.SIGTERM) {
		t.Error("it is not known that SIGKILL ended it")
	}
	cmd.Wait()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatalf("signal to an ended process: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("wait on a closed pidfd: %v", err)
	}
}
