package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/inspect"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// printer is a report for people that also encodes as JSON for programs.
type printer interface{ Print(io.Writer) error }

func (s *settings) print(report printer) error {
	if s.json {
		return json.NewEncoder(stdout).Encode(report)
	}
	return report.Print(stdout)
}

// sizeFlag is a number of bytes on the command line.
type sizeFlag int64

func (f *sizeFlag) String() string {
	if *f == 0 {
		return ""
	}
	return topology.FormatSize(int64(*f))
}

func (f *sizeFlag) Type() string { return "size" }

// Set accepts what quintet.yaml does, and K, M, G and T for short.
func (f *sizeFlag) Set(text string) error {
	full := text
	if text != "" && strings.ContainsAny(text[len(text)-1:], "KMGT") {
		full += "iB"
	}
	value, ok := topology.ParseSize(full)
	if !ok || value <= 0 {
		return fmt.Errorf("allowed: bytes, or a whole number with K, M, G or T, such as 64M or 64MiB")
	}
	*f = sizeFlag(value)
	return nil
}

func newMkfs(s *settings) *cobra.Command {
	var o inspect.MakeOptions
	var size, journal sizeFlag
	var reserved float64
	c := &cobra.Command{
		Use:   "mkfs [--size S] IMAGE",
		Short: "Make an ext4 file system on an image file or block device",
		Long: `Make an empty ext4 file system. A file that does not exist is created with the
size asked for, and takes no more space on disk than is written to it. Linux,
e2fsprogs and Quintet's file server read and write the result.

What an image holds is not overwritten without --force; what a storage server
or a loop device is using is not overwritten at all.`,
		Args: usage(1, 1, "the path of one image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Size, o.Now, o.ReservedPercent = int64(size), time.Now(), reserved
			if reserved == 0 {
				o.ReservedPercent = -1
			}
			if journal != 0 {
				if o.BlockSize == 0 {
					o.BlockSize = 4096
				}
				o.JournalBlocks = uint32(min(int64(journal)/int64(o.BlockSize), 1<<31))
			}
			made, err := inspect.Make(cmd.Context(), args[0], o)
			if err != nil {
				return adviseMkfs(err)
			}
			return s.print(made)
		},
	}
	flags := c.Flags()
	flags.Var(&size, "size", "size of the image, such as 64M or 16T (default: that of an image that exists)")
	flags.BoolVar(&o.Force, "force", false, "overwrite an image that holds something")
	flags.StringVar(&o.Label, "label", "", "`name` of the file system, at most 16 bytes")
	flags.IntVar(&o.BlockSize, "block-size", 4096, "1024, 2048 or 4096 `bytes`")
	flags.Int64Var(&o.BytesPerInode, "bytes-per-inode", 16384, "make one inode for so many `bytes`")
	flags.Var(&journal, "journal", "size of the journal (default: by the size of the file system)")
	flags.Float64Var(&reserved, "reserved", 5, "`percent` of the blocks that only the superuser may use")
	return c
}

// adviseMkfs adds what can be done about an error.
func adviseMkfs(err error) error {
	switch {
	case errors.Is(err, inspect.ErrSize):
		return fmt.Errorf("%w: %w: say --size, such as --size 1G", errUsage, err)
	case errors.Is(err, inspect.ErrHolds):
		return fmt.Errorf("%w: --force overwrites it", err)
	case errors.Is(err, ext4.KindInvalid):
		return fmt.Errorf("%w: %w: the block size must be 1024, 2048 or 4096, the label at most 16 bytes, and at most 50 percent reserved", errUsage, err)
	case errors.Is(err, ext4.KindNoSpace):
		return fmt.Errorf("%w: the journal, with at least 1024 blocks, and the inodes do not fit: make the image larger", err)
	}
	return err
}

func newFsck(s *settings) *cobra.Command {
	var recover bool
	c := &cobra.Command{
		Use:   "fsck IMAGE",
		Short: "Check an ext4 file system without changing it",
		Long: `Check every structure, checksum, link and free count of an ext4 file system. A
journal that needs recovery is replayed in memory first, so that what is checked
is what the next mount would find. Nothing is repaired; e2fsck does that.

The exit status is 1 if there is a problem.`,
		Args: usage(1, 1, "the path of one image"),
		RunE: func(_ *cobra.Command, args []string) error {
			found, err := inspect.Check(args[0], recover)
			var damage *disk.CorruptError
			if errors.As(err, &damage) && damage.Structure == "superblock" {
				return fmt.Errorf("%s cannot be checked: %s; if it ever was ext4, e2fsck may find a copy of its superblock", args[0], damage.Detail)
			}
			if err != nil {
				return err
			}
			if err := s.print(found); err != nil {
				return err
			}
			if !found.Clean {
				return errSilent
			}
			return nil
		},
	}
	c.Flags().BoolVar(&recover, "recover", false, "replay the journal on the image itself, as mounting would, and free what has no name")
	return c
}
