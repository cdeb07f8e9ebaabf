package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/supervisor"
)

func newCapture(s *settings) *cobra.Command {
	var network, file string
	capture := &cobra.Command{
		Use:   "capture [--network N] PORT",
		Short: "Write the frames of a port to a file, as tcpdump does",
		Long: `Write the frames that pass a port of a network to a file in the pcap format,
which tcpdump and wireshark read, until Ctrl-C. PORT is the name of an application
or uplink, or a MAC address, as quintet ps shows them. Super-segments are written
uncut. The capture goes on when the network server dies; frames that the file is
too slow for are left out, never waited for.`,
		Args: usage(1, 1, "the name of a port"),
		RunE: func(cmd *cobra.Command, args []string) (failed error) {
			c, err := s.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			if network == "" {
				if network, err = networkWith(cmd.Context(), c, args[0]); err != nil {
					return err
				}
			}
			read, write, err := unix.SocketPair()
			if err != nil {
				return err
			}
			m, err := c.Ask(cmd.Context(), &broker.Capturing{Network: network, Port: args[0]}, int(write.Fd()))
			_ = write.Close()
			if err != nil {
				return err
			}
			m.CloseFDs()
			var out io.Writer = stdout
			if file != "-" {
				f, err := os.Create(file)
				if err != nil {
					return err
				}
				defer func() { failed = errors.Join(failed, f.Close()) }()
				out = f
			} else if terminal(os.Stdout) {
				return fmt.Errorf("%w: a capture is not for a terminal; name a file with --write, or pipe it to tcpdump -r -", errUsage)
			}
			go func() {
				<-cmd.Context().Done()
				_ = read.Close()
			}()
			n, err := copyMessages(out, read)
			fmt.Fprintf(os.Stderr, "%d bytes captured\n", n)
			if cmd.Context().Err() != nil {
				return nil
			}
			return err
		},
	}
	capture.Flags().StringVar(&network, "network", "", "`network` of the port (default: the only one that has the port)")
	capture.Flags().StringVarP(&file, "write", "w", "-", "`file` to write to; - is standard output")
	return capture
}

// messageBytesMax is more than any message of a capture has.
const messageBytesMax = 1 << 20

// copyMessages writes what comes from a socket, message by message, which io.Copy would
// cut.
func copyMessages(out io.Writer, in io.Reader) (written int64, err error) {
	for message := make([]byte, messageBytesMax); ; {
		n, err := in.Read(message)
		if err != nil || n == 0 {
			if err == io.EOF {
				err = nil
			}
			return written, err
		}
		if _, err := out.Write(message[:n]); err != nil {
			return written, err
		}
		written += int64(n)
	}
}

// networkWith is the network that has a port of that name or MAC address, if there is
// just one.
func networkWith(ctx context.Context, c *broker.Client, port string) (string, error) {
	_, state, err := look(ctx, c)
	if err != nil {
		return "", err
	}
	if len(state.Networks) == 1 {
		return state.Networks[0].Name, nil
	}
	var with []string
	for _, n := range state.Networks {
		if slices.ContainsFunc(n.Ports, func(p supervisor.PortState) bool { return p.Name == port || p.MAC.String() == port }) {
			with = append(with, n.Name)
		}
	}
	switch len(with) {
	case 0:
		return "", fmt.Errorf("none of the %d networks has a port %q at the moment; `quintet ps` lists them", len(state.Networks), port)
	case 1:
		return with[0], nil
	}
	return "", fmt.Errorf("%w: name the network with --network: %s have ports %q", errUsage, strings.Join(with, ", "), port)
}
