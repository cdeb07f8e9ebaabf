package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/supervisor"
)

const losetup = "/usr/sbin/losetup"

// reattach makes an image the one behind a loop device.
func reattach(t *testing.T, device, image string) {
	t.Helper()
	if out, err := exec.Command(losetup, device, image).CombinedOutput(); err != nil {
		t.Fatalf("losetup %s %s: %v: %s", device, image, err, out)
	}
}

// TestLostVolume: a device that is detached under I/O, with another image in its place
// then, costs its own clients a pause and nobody else anything; the other image is not
// touched, and ps says what is wrong.
func TestLostVolume(t *testing.T) {
	device := loopDevice(t, 16<<20, 512)
	out, err := exec.Command(losetup, "--noheadings", "--output", "BACK-FILE", device).Output()
	if err != nil {
		t.Fatal(err)
	}
	image := strings.TrimSpace(string(out))
	s := Up(t, program, fmt.Sprintf(`version: 1
servers: {store: {kind: storage, standby: false}}
volumes:
  data: {server: store, device: %s}
  other: {server: store, memory: 1MiB}
applications: {test: {volumes: {data: rw, other: rw}}}
`, device))
	a := s.Connect()
	data, other := s.Volume(a, "data"), s.Volume(a, "other")
	lost := func(reason string) {
		t.Helper()
		s.Until("the volume is lost: "+reason, func(state *supervisor.State) bool {
			store := state.Servers[0]
			if store.Phase != supervisor.PhaseServing {
				return false
			}
			if len(store.Lost) == 1 && store.Lost[0].Volume == "data" && strings.Contains(store.Lost[0].Reason, reason) {
				return true
			}
			if len(store.Lost) == 0 {
				s.KillServer("store") // it still had the device
			}
			return false
		})
		if _, err := other.WriteAt(make([]byte, loadBlock), 0); err != nil {
			t.Fatalf("another volume of the server: %v", err)
		}
		if _, err := a.Volume(t.Context(), "data"); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("a new session: %v", err)
		}
	}
	written, stop := make(chan error, 1), make(chan struct{})
	go func() {
		pattern := bytes.Repeat([]byte("once "), loadBlock)[:loadBlock]
		for i := int64(0); ; i++ {
			if _, err := data.WriteAt(pattern, i*loadBlock%data.Info().Size); err != nil {
				written <- err
				return
			}
			select {
			case <-stop:
				written <- nil
				return
			default:
			}
		}
	}()
	if out, err := exec.Command(losetup, "--detach", device).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	lost("no image")
	stranger := s.Dir + "/stranger"
	if err := os.WriteFile(stranger, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	reattach(t, device, stranger)
	lost("another device")
	if out, err := exec.Command(losetup, "--detach", device).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	select {
	case err := <-written:
		t.Fatalf("a write ended without the device: %v", err)
	default:
	}
	reattach(t, device, image)
	s.Until("nothing is lost", func(state *supervisor.State) bool { return len(state.Servers[0].Lost) == 0 })
	close(stop)
	if err := <-written; err != nil {
		t.Error(err)
	}
	if content, err := os.ReadFile(stranger); err != nil || !bytes.Equal(content, make([]byte, 16<<20)) {
		t.Errorf("another image has been written to (%v)", err)
	}
	got := make([]byte, loadBlock)
	if _, err := data.ReadAt(got, 0); err != nil || !bytes.HasPrefix(got, []byte("once once ")) {
		t.Errorf("what was written: %q, %v", got[:10], err)
	}
}

// TestMovedImage: a volume is the file that it was when the system was started,
// whatever lies at its path later.
func TestMovedImage(t *testing.T) {
	s := Up(t, program, `version: 1
servers: {store: {kind: storage}}
volumes: {data: {server: store, file: data.img, size: 1MiB, create: true}}
applications: {test: {volumes: {data: rw}}}
`)
	v := s.Volume(s.Connect(), "data")
	path := s.Dir + "/data.img"
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	pattern := bytes.Repeat([]byte{'A'}, loadBlock)
	for i := range int64(3) { // of three processes the last one has opened it after the move
		generation := s.Server("store").Generation
		s.KillServer("store")
		s.Until("another process serves", func(state *supervisor.State) bool {
			return state.Servers[0].Generation > generation && state.Servers[0].Phase == supervisor.PhaseServing && state.Servers[0].Warm
		})
		if _, err := v.WriteAt(pattern, i*loadBlock); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(path + ".moved"); err != nil || !bytes.HasPrefix(content, bytes.Repeat(pattern, 3)) {
		t.Errorf("the image that was moved has not been written to (%v)", err)
	}
	if content, err := os.ReadFile(path); err != nil || !bytes.Equal(content, make([]byte, 1<<20)) {
		t.Errorf("the file that took its place has been written to (%v)", err)
	}
}
