package main

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/ipc/broker"
)

func newVersion(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of its protocol",
		Args:  usage(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if s.json {
				return json.NewEncoder(stdout).Encode(map[string]any{
					"version": version, "protocol": broker.Version, "go": runtime.Version(), "arch": runtime.GOARCH,
				})
			}
			fmt.Fprintf(stdout, "quintet %s, control protocol %d, %s %s\n", version, broker.Version, runtime.Version(), runtime.GOARCH)
			return nil
		},
	}
}
