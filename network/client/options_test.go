package client

import (
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

func option[T any, P interface {
	*T
	tcpip.GettableTransportProtocolOption
}](t *testing.T, s *stack.Stack) (value T) {
	t.Helper()
	if err := s.TransportProtocolOption(tcp.ProtocolNumber, P(&value)); err != nil {
		t.Errorf("%T: %v", value, err)
	}
	return value
}

// TCP recovers from losses as fast as the stack can, and fills fast long paths.
func TestTCPOptions(t *testing.T) {
	s := &Stack{stack: stack.New(stack.Options{TransportProtocols: transports})}
	defer s.stack.Destroy()
	if err := s.setOptions(); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []tcpip.TransportProtocolNumber{tcp.ProtocolNumber, udp.ProtocolNumber, icmp.ProtocolNumber4, icmp.ProtocolNumber6} {
		if s.stack.TransportProtocolInstance(protocol) == nil {
			t.Errorf("there is no protocol %d", protocol)
		}
	}
	if got := option[tcpip.CongestionControlOption](t, s.stack); got != "cubic" {
		t.Errorf("congestion control is %q", got)
	}
	if !option[tcpip.TCPSACKEnabled](t, s.stack) {
		t.Error("no selective acknowledgements")
	}
	// See docs/decisions/loss-recovery.md.
	if got := option[tcpip.TCPRecovery](t, s.stack); got != 0 {
		t.Errorf("loss recovery is %#x", got)
	}
	if !option[tcpip.TCPModerateReceiveBufferOption](t, s.stack) {
		t.Error("receive buffers do not grow")
	}
	if got := option[tcpip.TCPReceiveBufferSizeRangeOption](t, s.stack); got.Max != 8<<20 {
		t.Errorf("receive buffers: %+v", got)
	}
	if got := option[tcpip.TCPSendBufferSizeRangeOption](t, s.stack); got.Max != 6<<20 {
		t.Errorf("send buffers: %+v", got)
	}
	// The switch's patience is a fraction of this.
	if got := option[tcpip.TCPMinRTOOption](t, s.stack); time.Duration(got) != 200*time.Millisecond {
		t.Errorf("the least retransmission timeout is %v", time.Duration(got))
	}
}
