package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/files/ext4/inspect"
)

func newDebug(s *settings) *cobra.Command {
	c := &cobra.Command{Use: "debug", Short: "Look into what Quintet keeps, without its servers", Args: usage(1, -1, "the kind of thing: ext4")}
	raw, always := false, true
	image, file := usage(1, 2, "an image, and perhaps a path in it"), usage(2, 2, "an image and a path in it")
	e := &cobra.Command{
		Use:   "ext4",
		Short: "Look into an ext4 file system on an image file or block device",
		Long: `Look into an ext4 file system without changing it, not even its journal. A file
is named by its path from the root directory, or by its inode: "<12>".`,
		Args: usage(1, -1, "what to look at: ls, cat, stat or journal"),
		// Runnable, so that a wrong word is an error and not a page of help.
		RunE: func(_ *cobra.Command, args []string) error {
			return fmt.Errorf("%w: there is no %q; there are cat, journal, ls and stat", errUsage, args[0])
		},
	}
	e.AddCommand(
		s.look(&raw, "ls IMAGE [PATH]", "List a directory", image, func(m *inspect.Image, path string) (printer, error) {
			if path == "" {
				path = "/"
			}
			return m.List(path)
		}),
		s.look(&raw, "cat IMAGE PATH", "Write the content of a file", file, func(m *inspect.Image, path string) (printer, error) {
			if s.json {
				return nil, fmt.Errorf("%w: cat writes a file's content, which has no form in JSON", errUsage)
			}
			return nil, m.Cat(path, stdout)
		}),
		s.look(&raw, "stat IMAGE [PATH]", "Describe a file's inode, or the file system", image, func(m *inspect.Image, path string) (printer, error) {
			if path == "" {
				return m.FileSystem(), nil
			}
			return m.Stat(path)
		}),
		s.look(&always, "journal IMAGE [PATH]", "List the transactions in the journal, or those that change a file's inode", image, func(m *inspect.Image, path string) (printer, error) {
			return m.Journal(path)
		}),
	)
	e.PersistentFlags().BoolVar(&raw, "raw", false, "leave a journal that needs recovery out of account, also in memory")
	c.RunE = func(_ *cobra.Command, args []string) error {
		return fmt.Errorf("%w: there is no %q; there is ext4", errUsage, args[0])
	}
	c.AddCommand(e)
	return c
}

// look is a command that opens an image and reports on it.
func (s *settings) look(raw *bool, use, short string, args cobra.PositionalArgs, report func(*inspect.Image, string) (printer, error)) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			m, err := inspect.Open(args[0], *raw)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, m.Close()) }()
			r, err := report(m, append(args, "")[1])
			if err != nil || r == nil {
				return err
			}
			return s.print(r)
		},
	}
}
