package supervisor

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
)

// said passes on what is logged.
type said chan string

func (s said) Write(p []byte) (int, error) {
	select {
	case s <- string(p):
	default: // nobody has read the last lines yet
	}
	return len(p), nil
}

// TestWantOfDescriptors lets an application knock when the supervisor has no
// descriptor left for it: the system goes on, and admits it later.
func TestWantOfDescriptors(t *testing.T) {
	s := start(t)
	lines := make(said, 64)
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(lines, nil)))
	defer slog.SetDefault(old)

	soft, hard, err := unix.Limits(unix.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	next, err := unix.CreateEventfd() // the lowest that is free
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseAll([]int{next})
	// The client's end still fits, the supervisor's does not.
	if err := unix.SetLimits(unix.LimitDescriptors, uint64(next)+1, hard); err != nil {
		t.Fatal(err)
	}
	conn, dialErr := broker.Dial(broker.SocketPath(s.state.path))
	refused := ""
	for limit := time.After(patience); dialErr == nil && !strings.Contains(refused, "too many open files"); {
		select {
		case refused = <-lines:
			continue
		case <-limit:
			t.Error("nobody was refused for want of a descriptor")
		}
		break
	}
	if err := unix.SetLimits(unix.LimitDescriptors, soft, hard); err != nil {
		t.Fatal(err)
	}
	if dialErr != nil {
		t.Fatal(dialErr)
	}
	defer conn.Close()
	if err := conn.Send(1, &broker.Hello{Name: "late"}); err != nil {
		t.Fatal(err)
	}
	m, err := conn.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if _, is := m.Body.(*broker.Welcome); !is {
		t.Fatalf("answered with %T", m.Body)
	}
}
