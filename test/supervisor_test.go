package test

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/supervisor"
)

// TestSupervisorKilled: its servers end with it, applications are told, and the
// next `quintet up` on the same directory serves the same data.
func TestSupervisorKilled(t *testing.T) {
	s := Up(t, program, oneServer)
	written := bytes.Repeat([]byte("written before "), loadBlock)[:loadBlock]
	for range 3 {
		v := s.Volume(s.Connect(), "data")
		if _, err := v.WriteAt(written, 0); err != nil {
			t.Fatal(err)
		}
		var processes []*unix.Pidfd
		for _, pid := range []int{s.Server("store").PID, s.Server("store").StandbyPID} {
			process, err := unix.OpenPidfd(pid)
			if err != nil {
				t.Fatal(err)
			}
			defer process.Close()
			processes = append(processes, process)
		}
		s.KillSupervisor()
		for _, process := range processes {
			late := time.AfterFunc(patience, func() { process.Close() })
			if err := process.Wait(); err != nil {
				t.Fatal("a server has outlived its supervisor")
			}
			late.Stop()
		}
		for {
			// A request that the server was still alive for may succeed.
			if _, err := v.WriteAt(written, 0); errors.Is(err, storage.KindClosed) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		s.start(program)
		got := make([]byte, loadBlock)
		if _, err := s.Volume(s.Connect(), "data").ReadAt(got, 0); err != nil || !bytes.Equal(got, written) {
			t.Fatalf("afterwards it reads %q..., %v", got[:16], err)
		}
	}
}

// TestApplicationThatNeverReads asks on and on and reads no answer. It loses its
// connection, and nobody else notices.
func TestApplicationThatNeverReads(t *testing.T) {
	s := Up(t, program, oneServer)
	load := StartLoad(s.Volume(s.Connect(), "data"), 4, 0, 6)
	socket, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: s.Socket(), Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	deaf := broker.NewConn(socket)
	defer deaf.Close()
	err = deaf.Send(1, &broker.Hello{Name: "deaf"})
	deadline := time.Now().Add(patience)
	for ref := uint64(2); err == nil; ref++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d questions, and it may ask more", ref)
		}
		err = deaf.Send(ref, &broker.Control{Verb: supervisor.VerbState})
	}
	for _, problem := range load.Stop() {
		t.Error(problem)
	}
	if _, err := s.State(); err != nil {
		t.Errorf("the supervisor, afterwards: %v", err)
	}
}
