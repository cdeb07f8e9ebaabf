package server_test

import (
	"testing"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// BenchmarkForward forwards segments of an established connection, and those with which
// one begins.
func BenchmarkForward(b *testing.B) {
	for name, flags := range map[string]byte{"data": 0x10, "SYN": 0x02} {
		b.Run(name, func(b *testing.B) {
			bench := newBenchOf(b, 64, hosts(2)...)
			from, to := bench.sides[0], bench.sides[1]
			tcp := make([]byte, 20)
			tcp[12], tcp[13] = 5<<4, flags
			f := networktest.IPv4(to.Config.MAC, from.Config.MAC, from.v4(), to.v4(), 6, tcp)
			got := 0
			count := func([]byte, network.Offload) { got++ }
			for sent := 0; got < b.N; {
				for sent < b.N && from.port.Send(network.Offload{}, f) {
					sent++
				}
				bench.Step()
				if _, err := to.port.Poll(64, count); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
