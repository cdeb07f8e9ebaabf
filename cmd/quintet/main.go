// Command quintet runs a system of isolated servers and works with it.
//
// Exit codes: 0 success; 1 the operation failed, `demo` found something lost, or
// `fsck` something wrong; 2 wrong usage; 3 no supervisor is running; 4 the
// supervisor refused; 128 and its number if a signal has ended the command.
package main

import (
	"os"

	"github.com/quintet-os/quintet/bench"
)

// version is set by the linker.
var version = "unknown"

func main() {
	if bench.RunSide() {
		return
	}
	os.Exit(run(os.Args[1:]))
}
