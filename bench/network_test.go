package bench

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/supervisor/topology"
)

func TestTrafficTopologyIsOne(t *testing.T) {
	for _, programs := range []int{2, 64} {
		path := filepath.Join(t.TempDir(), "quintet.yaml")
		if err := os.WriteFile(path, []byte(trafficTopology(programs)), 0o600); err != nil {
			t.Fatal(err)
		}
		top, err := topology.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(top.Ports) != programs {
			t.Errorf("%d ports for %d programs", len(top.Ports), programs)
		}
	}
}

// What is forwarded must be a frame that the switch lets pass: the headers say what
// the frame is.
func TestSmallFramesAreFrames(t *testing.T) {
	f := datagram(trafficMAC(1), trafficMAC(0), 0, 1)
	if len(f) != smallFrameBytes {
		t.Errorf("%d bytes", len(f))
	}
	if total := int(binary.BigEndian.Uint16(f[network.EthernetBytes+2:])); network.EthernetBytes+total != len(f) {
		t.Errorf("the packet says %d bytes of %d", total, len(f))
	}
	for name, attack := range attacks {
		for i := range 1 << 10 {
			if f := attack(i, trafficMAC(attackerProgram), trafficMAC(1)); len(f) < network.EthernetBytes || len(f) > smallFrameBytes {
				t.Fatalf("%s: frame %d has %d bytes", name, i, len(f))
			}
		}
	}
}

func TestLostConnectionsAreCounted(t *testing.T) {
	one := errors.New("one")
	if n := len(problems(errors.Join(one, nil, one))); n != 2 || len(problems(nil)) != 0 || len(problems(one)) != 1 {
		t.Errorf("counted %d", n)
	}
}
