package broker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
)

// strangerVariable makes this test binary a supervisor at the socket that it names.
const strangerVariable = "QUINTET_TEST_STRANGER"

// TestStrangersAreNotAsked: a supervisor of another user hears nothing, unless its
// socket was named.
func TestStrangersAreNotAsked(t *testing.T) {
	if path := os.Getenv(strangerVariable); path != "" {
		stranger(t, path)
		return
	}
	testenv.RequireRoot(t)
	dir, err := os.MkdirTemp("", "quintet-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "socket")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestStrangersAreNotAsked$")
	cmd.Env = append(os.Environ(), strangerVariable+"="+path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	said := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("the stranger says %q, want %q", lines.Text(), want)
		}
	}
	said("listening")
	if _, err := NewOwnClient(t.Context(), path, Hello{Name: "test", Domain: "secret"}, nil); !errors.Is(err, ErrForeign) {
		t.Errorf("a stranger's supervisor: %v", err)
	}
	said("heard nothing")
	c, err := NewClient(t.Context(), path, Hello{Name: "test"}, nil)
	if err != nil {
		t.Errorf("a socket that was named: %v", err)
	} else {
		c.Close()
	}
	said("heard hello")
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func stranger(t *testing.T, path string) {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	fmt.Println("listening")
	for range 2 {
		sock, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		c := NewConn(sock)
		m, err := c.Receive()
		if err != nil {
			fmt.Println("heard nothing")
			continue
		}
		fmt.Println("heard hello")
		if err := c.Send(m.Ref, &Welcome{}); err != nil {
			t.Fatal(err)
		}
	}
}
