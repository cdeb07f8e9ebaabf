package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/testenv"
)

const ftpSays = "by FTP\n"

// ftpServer is a server that has one file, and takes data at two ports, which it says are
// at an address. What else it is told is one setting a line.
func ftpServer(t *testing.T, dataAt string, settings ...string) []string {
	t.Helper()
	if _, err := exec.LookPath("vsftpd"); err != nil {
		testenv.Skip(t, err.Error()+"; see tools/packages.txt")
	}
	dir := shortDir(t)
	root, empty := filepath.Join(dir, "root"), filepath.Join(dir, "empty")
	for _, each := range []string{root, empty} {
		if err := os.Mkdir(each, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := append([]string{"listen=YES", "background=NO", "anonymous_enable=YES", "local_enable=NO",
		"anon_root=" + root, "secure_chroot_dir=" + empty, "pasv_address=" + dataAt, "pasv_min_port=40000", "pasv_max_port=40001"}, settings...)
	file := filepath.Join(dir, "vsftpd.conf")
	for path, text := range map[string]string{file: strings.Join(config, "\n") + "\n", filepath.Join(root, "file"): ftpSays} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{"vsftpd", file}
}

// TestFTP: which ways of FTP work through a user uplink, in either direction, and which
// cannot, since nothing there rewrites what its messages say of addresses.
func TestFTP(t *testing.T) {
	s, system, world := upBesideWorld(t, `
  server: {networks: {lan: {addresses: [10.77.0.9], publish: ["21:21", "40000:40000", "40001:40001"]}}}
  strict: {networks: {lan: {addresses: [10.77.0.10], publish: ["2121:21"]}}}
  client: {networks: {lan: {}}}
`)
	start := func(n *netns.Namespace, args []string) {
		t.Helper()
		run := exec.Command(args[0], args[1:]...)
		run.Stderr = os.Stderr
		if err := n.Start(run); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = run.Process.Signal(syscall.SIGTERM); _ = run.Wait() })
	}
	start(world, ftpServer(t, worldEnd))
	// Connections that were published come from the uplink, so the server must not compare.
	start(system, s.compat("server", ftpServer(t, systemEnd, "port_promiscuous=YES")...))
	start(system, s.compat("strict", ftpServer(t, "10.77.0.10")...))

	const passive, old, active = "--ftp-pasv", "--disable-epsv", "--ftp-port -"
	fetch := func(from *netns.Namespace, compat bool, how, at string) string {
		args := append(append([]string{"curl", "-sS", "--max-time", "10"}, strings.Fields(how)...), "ftp://"+at+"/file")
		if compat {
			args = s.compat("client", args...)
		}
		run := exec.Command(args[0], args[1:]...)
		var out, said strings.Builder
		run.Stdout, run.Stderr = &out, &said
		err := from.Start(run)
		if err == nil {
			err = run.Wait()
		}
		if err != nil {
			return fmt.Sprint(err, ": ", said.String())
		}
		return out.String()
	}
	for at, from := range map[string]*netns.Namespace{worldEnd + ":21": world, systemEnd + ":21": world, systemEnd + ":2121": world} {
		awaitGreeting(t, from, at)
	}
	for _, c := range []struct {
		name   string
		from   *netns.Namespace
		compat bool
		how    string
		at     string
		works  bool
	}{
		{"a guest, passive", system, true, passive, worldEnd, true},
		{"a guest, passive without EPSV", system, true, old, worldEnd, true},
		{"a guest, active", system, true, active, worldEnd, false}, // the world has no way to its address
		{"a published server, passive", world, false, passive, systemEnd, true},
		{"a published server, passive without EPSV", world, false, old, systemEnd, true},
		{"a published server, active", world, false, active, systemEnd, true},
		{"a server whose ports of data are not published", world, false, passive, systemEnd + ":2121", false},
		{"a server that compares addresses, active", world, false, active, systemEnd + ":2121", false},
		{"a guest and an application, passive", system, true, passive, "10.77.0.10", true},
		{"a guest and an application, active", system, true, active, "10.77.0.10", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fetch(c.from, c.compat, c.how, c.at); (got == ftpSays) != c.works {
				t.Errorf("it works: %t, want %t: %s", !c.works, c.works, got)
			}
		})
	}
}

// awaitGreeting waits until somebody says something at an address.
func awaitGreeting(t *testing.T, from *netns.Namespace, at string) {
	t.Helper()
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pollPeriod) {
		if last = from.Do(func() error {
			c, err := net.DialTimeout("tcp", at, patience)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetReadDeadline(deadline)
			_, err = c.Read(make([]byte, 1))
			return err
		}); last == nil {
			return
		}
	}
	t.Fatalf("nobody greets at %s: %v", at, last)
}
