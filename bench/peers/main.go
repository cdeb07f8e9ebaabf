// Command peers plays the sides of `quintet bench network` that need libraries
// which Quintet itself does not: gvisor-tap-vsock, and the sharedmem link of
// gVisor. Both connect two programs, each of which has a TCP/IP stack of gVisor
// with the options of Quintet's.
//
// It is a module of its own, so that these libraries are no dependencies of
// Quintet. `make bench` builds it; the benchmark starts it.
package main

import (
	"fmt"
	"os"

	"github.com/quintet-os/quintet/bench"
)

func main() {
	bench.AddNetwork("gvisor-tap-vsock", joinTapVsock)
	bench.AddNetwork("sharedmem", joinSharedmem)
	bench.AddSide("tap-vsock-switch", serveTapVsock)
	if !bench.RunSide() {
		fmt.Fprintln(os.Stderr, "quintet bench network starts this program; it does nothing by itself")
		os.Exit(2)
	}
}
