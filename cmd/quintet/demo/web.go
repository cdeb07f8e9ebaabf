package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
)

// The web server answers, for the i-th file of the index on the volume:
//
//	GET  /i   the file, read from the volume
//	POST /i   whether the body is the file: 200 or 409
const webPort = "80"

// serve is the web server: it serves the files of the volume until its standard input
// ends.
func (a *application) serve(ctx context.Context) error {
	files, err := a.readIndex(ctx)
	if err != nil {
		return err
	}
	l, err := a.network.Listen("tcp", ":"+webPort)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: &web{application: a, files: files}}
	go func() {
		select {
		case <-a.told:
		case <-ctx.Done():
		}
		_ = server.Close()
	}()
	a.say(line{Ready: true})
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the files: %w", err)
	}
	return ctx.Err()
}

// web answers requests for files.
type web struct {
	*application
	files []File
}

func (w *web) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	i, err := strconv.Atoi(r.URL.Path[1:])
	if err != nil || i < 0 || i >= len(w.files) {
		http.NotFound(out, r)
		return
	}
	f := &w.files[i]
	if r.Method == http.MethodPost {
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err != nil {
			w.note("receive %s: %v", f.Path, err)
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
			w.mismatched.Add(1)
			w.note("%s came back with another hash", f.Path)
			out.WriteHeader(http.StatusConflict)
		}
		return
	}
	out.Header().Set("Content-Length", strconv.FormatInt(f.Size, 10))
	chunk := make([]byte, chunkBytes)
	for at := int64(0); at < f.Size; at += chunkBytes {
		n := min(f.Size-at, chunkBytes)
		if !w.readAt(r.Context(), chunk[:roundUp(n)], f.Offset+at) {
			panic(http.ErrAbortHandler) // counted as lost
		}
		if _, err := out.Write(chunk[:n]); err != nil {
			return // the client counts what it misses
		}
	}
}

// counted is a connection that tells when it breaks.
type counted struct {
	net.Conn
	of *fetcher
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.broken(err)
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.broken(err)
	return n, err
}

// broken counts the first error of a connection that this side has not closed.
func (c *counted) broken(err error) {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return
	}
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.of.open[c] {
		delete(c.of.open, c)
		c.of.dropped.Add(1)
	}
}

func (c *counted) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
