package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// fetcher is the web server's client: it gets each file and sends it back, over
// connections that are never to break.
type fetcher struct {
	*application
	client *http.Client
	host   string

	mu   sync.Mutex // guards open; a leaf
	open map[*counted]bool

	connections, dropped atomic.Uint64
}

// fetch exchanges the files of the plan with the web server, pass after pass until the
// time is up.
func (a *application) fetch(ctx context.Context) error {
	f := &fetcher{application: a, host: webDomain, open: make(map[*counted]bool)}
	f.client = &http.Client{Transport: &http.Transport{
		DialContext: f.dial, MaxConnsPerHost: fetchers, MaxIdleConnsPerHost: fetchers, DisableCompression: true,
	}}
	a.fetcher = f
	for {
		var next atomic.Int64
		var group sync.WaitGroup
		for range fetchers {
			group.Go(func() {
				for ctx.Err() == nil {
					i := int(next.Add(1)) - 1
					if i >= len(a.plan.Files) || a.passes.Load() > 0 && !time.Now().Before(a.plan.Until) {
						return
					}
					f.exchange(ctx, i)
				}
			})
		}
		group.Wait()
		if err := ctx.Err(); err != nil {
			return err
		}
		if int(next.Load()) >= len(a.plan.Files) {
			a.passes.Add(1) // the last may have been cut short
		}
		if !time.Now().Before(a.plan.Until) || a.lost.Load() > 0 {
			f.client.CloseIdleConnections()
			return nil
		}
	}
}

// dial opens a connection, which is counted. The transport uses each until it breaks, so
// there are never more than fetchers unless some do.
func (f *fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := f.network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	f.connections.Add(1)
	each := &counted{Conn: c, of: f}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[each] = true
	return each, nil
}

// exchange gets the i-th file, compares it, and sends it back.
func (f *fetcher) exchange(ctx context.Context, i int) {
	file := &f.plan.Files[i]
	url := "http://" + net.JoinHostPort(f.host, webPort) + "/" + strconv.Itoa(i)
	content := make([]byte, 0, file.Size)
	f.operate(ctx, "get "+file.Path, 0, func(ctx context.Context) error {
		answer, err := f.ask(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", answer.Status)
		}
		for content = content[:0]; ; {
			f.gaps.begin()
			n, err := answer.Body.Read(content[len(content):min(cap(content), len(content)+chunkBytes)])
			f.gaps.end()
			content = content[:len(content)+n]
			f.bytes.Add(uint64(n))
			if err == io.EOF || len(content) == cap(content) {
				break
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	sum := sha256.Sum256(content)
	if hex.EncodeToString(sum[:]) != file.SHA256 {
		f.mismatched.Add(1)
		f.note("%s: fetched with hash %x, written with %s", file.Path, sum, file.SHA256)
		return
	}
	f.operate(ctx, "post "+file.Path, len(content), func(ctx context.Context) error {
		answer, err := f.ask(ctx, http.MethodPost, url, bytes.NewReader(content))
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", answer.Status)
		}
		return nil
	})
}

func (f *fetcher) ask(ctx context.Context, method, url string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	f.requests.Add(1)
	return f.client.Do(r)
}
