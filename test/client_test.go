package test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/supervisor"
)

// clientVariable makes the test program an application of the system whose socket
// it names.
const clientVariable = "QUINTET_TEST_CLIENT"

// clientProcess keeps requests in flight until it is killed.
func clientProcess() {
	a, err := app.Connect(context.Background(), app.WithSocket(os.Getenv(clientVariable)), app.WithName("victim"))
	if err == nil {
		var v *app.Volume
		if v, err = a.Volume(context.Background(), "data"); err == nil {
			StartLoad(v, 16, 2048, 3)
			fmt.Println("loading")
			select {}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestClientKilledInFlight: its sessions end when its I/O has, and nobody else
// notices.
func TestClientKilledInFlight(t *testing.T) {
	s := Up(t, program, oneServer)
	load := StartLoad(s.Volume(s.Connect(), "data"), 4, 0, 4)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		victim := exec.Command(self)
		victim.Env = append(os.Environ(), clientVariable+"="+s.Socket())
		victim.Stderr = os.Stderr
		out, err := victim.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatalf("the victim has not started: %v", err)
		}
		if err := victim.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = victim.Wait()
		s.Until("the victim's session has ended", func(state *supervisor.State) bool {
			return len(state.Applications) == 1 && state.Servers[0].Sessions == 1
		})
	}
	for _, problem := range load.Stop() {
		t.Error(problem)
	}
	if deaths := s.Server("store").Deaths; deaths != 0 {
		t.Errorf("the server died %d times", deaths)
	}
}
