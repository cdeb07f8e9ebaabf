package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/sandbox/doctor"
)

func newDoctor(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host offers, what is weaker for lack of it, and how to mend it",
		Args:  usage(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			findings := doctor.Check(s.dir())
			var err error
			if s.json {
				err = json.NewEncoder(stdout).Encode(findings)
			} else {
				err = doctor.Print(stdout, findings)
			}
			if err == nil && !doctor.Able(findings) {
				err = fmt.Errorf("this host lacks what Quintet needs; see above")
			}
			return err
		},
	}
}
