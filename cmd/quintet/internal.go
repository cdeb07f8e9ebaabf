package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/cmd/quintet/demo"
	"github.com/quintet-os/quintet/ipc/broker"
	networkprocess "github.com/quintet-os/quintet/network/process"
	"github.com/quintet-os/quintet/sandbox"
	storageprocess "github.com/quintet-os/quintet/storage/process"
)

// controlFD is the descriptor of a server's connection to its supervisor.
const controlFD = 3

func newInternal(s *settings) *cobra.Command {
	internal := &cobra.Command{Use: "internal", Short: "Programs that the supervisor starts", Hidden: true}
	for _, each := range []struct {
		use, short string
		run        func(conn *broker.Conn, ready broker.Ready) error
	}{
		{"storage-server", "Serve volumes", storageprocess.Run},
		{"network-server", "Switch the frames of networks", networkprocess.Run},
		{"uplink", "Join a network to the world", uplink},
	} {
		internal.AddCommand(&cobra.Command{
			Use:   each.use,
			Short: each.short + "; started by the supervisor",
			Args:  usage(0, 0, "no arguments"),
			RunE:  func(*cobra.Command, []string) error { return confined(each.run) },
		})
	}
	internal.AddCommand(&cobra.Command{
		Use:                "holder",
		Short:              "Hold the network namespace of a program; started by quintet run --compat",
		DisableFlagParsing: true,
		RunE:               func(cmd *cobra.Command, args []string) error { return s.hold(cmd.Context(), args) },
	})
	internal.AddCommand(&cobra.Command{
		Use:                "compat",
		Short:              "Run a program with another resolv.conf; started by quintet run --compat",
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return execCompat(args) },
	})
	for _, role := range []string{"writer", "reader", "web", "fetcher"} {
		internal.AddCommand(&cobra.Command{
			Use:   "demo-" + role,
			Short: "An application of the demonstration",
			Args:  usage(0, 0, "no arguments"),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return demo.Main(cmd.Context(), role, os.Stdin, os.Stdout)
			},
		})
	}
	return internal
}

// confined enters the sandbox and runs a server or gateway in it.
func confined(run func(conn *broker.Conn, ready broker.Ready) error) error {
	report, err := sandbox.Enter()
	if err != nil {
		return err
	}
	// A terminal sends these to the whole group; the supervisor decides when a
	// server ends. A broken log must not kill a server either.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	conn, err := broker.FileConn(os.NewFile(controlFD, "control"))
	if err != nil {
		return err
	}
	ready := broker.Ready{Release: version}
	for _, m := range report.Degraded() {
		ready.Degraded = append(ready.Degraded, fmt.Sprintf("%s: %s", m.Name, m.Detail))
	}
	return run(conn, ready)
}
