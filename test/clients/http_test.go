package clients

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network/networktest"
)

const (
	workers      = 8
	requestsEach = 30
)

// mirror answers with what it is sent.
func mirror(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Proto", r.Proto)
	_, _ = w.Write(b) // a client that has gone sees a lack
}

// exchangeHTTP sends bodies of many sizes from several goroutines until enough servers
// have died, and returns how many connections that took.
func exchangeHTTP(t *testing.T, client *http.Client, url, proto string, deaths *atomic.Int64) (connections int64) {
	t.Helper()
	var opened atomic.Int64
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			opened.Add(1)
		}
	}}
	enough := deaths.Load() + deathsMin
	var wg sync.WaitGroup
	for n := range workers {
		r := rand.New(rand.NewPCG(uint64(n), 1))
		wg.Go(func() {
			for i := 0; i < requestsEach || deaths.Load() < enough; i++ {
				body := random(r, r.IntN(1<<uint(r.IntN(19))))
				request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodPost, url, bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				answer, err := client.Do(request)
				if err != nil {
					t.Errorf("request %d: %v", i, err)
					return
				}
				got, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || !bytes.Equal(got, body) || answer.Header.Get("Proto") != proto {
					t.Errorf("request %d of %d bytes: %s with %d bytes, %v", i, len(body), answer.Header.Get("Proto"), len(got), err)
					return
				}
			}
		})
	}
	wg.Wait()
	return opened.Load()
}

func serveHTTP(t *testing.T, p networktest.Peers, change func(*http.Server)) (port uint16) {
	t.Helper()
	l, err := p.B.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(mirror), Protocols: new(http.Protocols)}
	change(server)
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(l, "", "")
		} else {
			served <- server.Serve(l)
		}
	}()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ended with %v", err)
		}
	})
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// certificate is one for a test, which signs itself.
func certificate(t *testing.T, names ...netip.Addr) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	for _, ip := range names {
		template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// TestHTTP: every version of HTTP that needs TCP, with connections that stay open.
func TestHTTP(t *testing.T) {
	p, deaths := pair(t)
	cert, roots := certificate(t, p.IPs...)
	for _, c := range []struct {
		name, scheme, proto string
		set                 func(*http.Protocols)
		connectionsMax      int64
	}{
		{"HTTP/1.1", "http", "HTTP/1.1", func(p *http.Protocols) { p.SetHTTP1(true) }, workers},
		{"HTTP/2", "http", "HTTP/2.0", func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, workers},
		{"HTTP/1.1 over TLS", "https", "HTTP/1.1", func(p *http.Protocols) { p.SetHTTP1(true) }, workers},
		{"HTTP/2 over TLS", "https", "HTTP/2.0", func(p *http.Protocols) { p.SetHTTP2(true) }, workers},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := serveHTTP(t, p, func(s *http.Server) {
				c.set(s.Protocols)
				if c.scheme == "https" {
					s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
				}
			})
			each(t, p, func(t *testing.T, ip netip.Addr) {
				transport := &http.Transport{DialContext: p.A.DialContext, MaxIdleConnsPerHost: workers, Protocols: new(http.Protocols),
					TLSClientConfig: &tls.Config{RootCAs: roots}}
				defer transport.CloseIdleConnections()
				c.set(transport.Protocols)
				n := exchangeHTTP(t, &http.Client{Transport: transport}, fmt.Sprintf("%s://%s/", c.scheme, netip.AddrPortFrom(ip, port)), c.proto, deaths)
				if n == 0 || n > c.connectionsMax {
					t.Errorf("%d connections were made, at most %d are needed", n, c.connectionsMax)
				}
			})
		})
	}
}
