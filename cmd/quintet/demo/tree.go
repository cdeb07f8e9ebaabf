package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// File is one file of the tree, and its place on the volume.
type File struct {
	Path   string `json:"path"` // below the tree
	Size   int64  `json:"size"`
	Offset int64  `json:"offset"`
	SHA256 string `json:"sha256,omitempty"`
}

// The volume begins with a header block, then one block for each worker's
// number, then the files, each from a block's beginning, then the index.
const numbersOffset = blockBytes

func numberOffset(writer, worker int) int64 {
	return numbersOffset + int64(writer*workers+worker)*blockBytes
}

const filesOffset = numbersOffset + writers*workers*blockBytes

func roundUp(n int64) int64 { return (n + blockBytes - 1) &^ (blockBytes - 1) }

// inputDirectory returns the tree to copy when none was given, and says why.
func inputDirectory() (dir, why string, err error) {
	candidates := []string{}
	if out, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		candidates = append(candidates, filepath.Join(strings.TrimSpace(string(out)), "src"))
	}
	if root := os.Getenv("GOROOT"); root != "" {
		candidates = append(candidates, filepath.Join(root, "src"))
	}
	candidates = append(candidates, "/usr/local/go/src", "/usr/lib/go/src")
	for _, dir := range candidates {
		if isDirectory(dir) {
			return dir, "the source tree of the Go installation", nil
		}
	}
	for _, dir := range []string{"/usr/include", "/usr/share/doc", "/usr/share", "/etc"} {
		if isDirectory(dir) {
			return dir, "there is no Go installation (" + runtime.Version() + " built this program); choose another tree with --input", nil
		}
	}
	return "", "", errors.New("no tree of files was found to copy; name one with --input")
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// walk lists the regular files below dir that can be read, with their places on
// the volume, up to a bound; whole says whether that was all.
func walk(dir string) (files []File, end int64, whole bool, err error) {
	end, whole = filesOffset, true
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // what cannot be read is not part of the demonstration
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		if len(files) >= treeFilesMax || end+info.Size() > treeBytesMax {
			whole = false
			return filepath.SkipAll
		}
		f, err := os.Open(path)
		if err != nil {
			return nil
		}
		_ = f.Close()
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files = append(files, File{Path: relative, Size: info.Size(), Offset: end})
		end += roundUp(info.Size())
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there are no readable files below %s; choose another tree with --input", dir)
	}
	return files, end, whole, err
}

// share returns the part of the files that one writer copies: contiguous on the
// volume, and about as many bytes as the others'.
func share(files []File, end int64, writer int) []File {
	bound := func(w int) int64 { return filesOffset + (end-filesOffset)*int64(w)/writers }
	var mine []File
	for _, f := range files {
		if f.Offset >= bound(writer) && (f.Offset < bound(writer+1) || writer == writers-1) {
			mine = append(mine, f)
		}
	}
	return mine
}
