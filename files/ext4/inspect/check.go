package inspect

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// Findings is what Check found.
type Findings struct {
	Clean     bool     `json:"clean"`
	Problems  []string `json:"problems"` // the first of them
	Count     int      `json:"count"`    // of all problems
	Recovered bool     `json:"recovered"`
	Orphans   int      `json:"orphans"` // inodes without names, which the next mount frees
	Inodes    uint64   `json:"inodes"`  // in use
	Dirs      uint64   `json:"directories"`
	Blocks    uint64   `json:"blocks"` // in use

	path string
}

// Check examines the file system on the image at path. A journal that needs
// recovery is replayed in memory, or, if recover is set, on the image, and
// inodes without names are freed; nothing else is changed.
//
// Errors: ErrBusy, since what a running server is changing looks damaged; those
// of ext4.Open and ext4.Check; those of the system.
func Check(path string, recover bool) (*Findings, error) {
	if err := claimPath(path); err != nil {
		return nil, err
	}
	v, err := image.Open(path, recover)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if recover {
		f, err := ext4.Open(v, ext4.Options{Now: time.Now})
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: recovering: %w", path, err)
		}
	}
	r, err := ext4.Check(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Problems == nil {
		r.Problems = []string{}
	}
	return &Findings{Clean: r.Clean(), Problems: r.Problems, Count: r.Count, Recovered: r.Recovered || recover, Orphans: r.Orphans,
		Inodes: r.Inodes, Dirs: r.Dirs, Blocks: r.Blocks, path: path}, nil
}

func claimPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(claim(file), file.Close())
}

// Print writes the findings for people.
func (r *Findings) Print(w io.Writer) error {
	for _, p := range r.Problems {
		if _, err := fmt.Fprintln(w, printable(p)); err != nil {
			return err
		}
	}
	verdict := "clean"
	if !r.Clean {
		verdict = fmt.Sprintf("%d problems", r.Count)
		if more := r.Count - len(r.Problems); more > 0 {
			verdict += fmt.Sprintf(", %d of them not listed", more)
		}
	}
	_, err := fmt.Fprintf(w, "%s: %s; %d inodes (%d directories) and %d blocks in use, %d orphans\n", r.path, verdict, r.Inodes, r.Dirs, r.Blocks, r.Orphans)
	return err
}
