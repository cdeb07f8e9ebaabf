package broker

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
)

func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	a, there, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err = FileConn(there)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestEveryKindGoesThrough(t *testing.T) {
	a, b := pair(t)
	for kind, f := range forms {
		body := f.body()
		if body.kind() != kind {
			t.Errorf("the body of %s says that it is %s", kind, body.kind())
		}
		fds := make([]int, f.descriptors)
		for i := range fds {
			fds[i] = int(os.Stderr.Fd())
		}
		if err := a.Send(7, body, fds...); err != nil {
			t.Fatalf("send %s: %v", kind, err)
		}
		m, err := b.Receive()
		if err != nil {
			t.Fatalf("receive %s: %v", kind, err)
		}
		if m.Ref != 7 || len(m.FDs) != f.descriptors || !reflect.DeepEqual(m.Body, body) {
			t.Errorf("%s came as %+v", kind, m)
		}
		m.CloseFDs()
	}
}

func TestReceiveRefuses(t *testing.T) {
	long, err := json.Marshal(strings.Repeat("x", MessageMax))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		packet string
		fds    int
		want   error
	}{
		"another version":     {`{"v":2,"kind":"hello","body":{"name":"x"}}`, 0, ErrVersion},
		"no version":          {`{"kind":"hello","body":{"name":"x"}}`, 0, ErrVersion},
		"no JSON":             {`hello`, 0, ErrMalformed},
		"unknown kind":        {`{"v":1,"kind":"hullo","body":{}}`, 0, ErrMalformed},
		"no body":             {`{"v":1,"kind":"hello"}`, 0, ErrMalformed},
		"wrong type":          {`{"v":1,"kind":"grant","body":{"region":"0"}}`, 1, ErrMalformed},
		"missing descriptor":  {`{"v":1,"kind":"grant","body":{"region":0}}`, 0, ErrMalformed},
		"too many":            {`{"v":1,"kind":"hello","body":{"name":"x"}}`, 3, ErrMalformed},
		"far too many":        {`{"v":1,"kind":"hello","body":{"name":"x"}}`, 100, ErrMalformed},
		"longer than allowed": {`{"v":1,"kind":"hello","body":{"name":` + string(long) + `}}`, 0, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fds := make([]int, c.fds)
			for i := range fds {
				fds[i] = int(w.Fd())
			}
			if err := unix.SendPacket(a.Socket(), []byte(c.packet), fds...); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if m, err := b.Receive(); !errors.Is(err, c.want) || len(m.FDs) != 0 {
				t.Fatalf("got %+v, %v, want %v", m, err, c.want)
			}
			// All descriptors of a refused message are closed: the pipe has ended.
			if _, err := r.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("a descriptor is still open: %v", err)
			}
		})
	}
}

func TestSendCountsDescriptors(t *testing.T) {
	a, _ := pair(t)
	if err := a.Send(0, &Grant{}); err == nil {
		t.Fatal("a grant without memory was sent")
	}
}

func TestClosedPeerIsTheEnd(t *testing.T) {
	a, b := pair(t)
	if err := a.Send(3, &Drain{Final: true}); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if m, err := b.Receive(); err != nil || m.Ref != 3 || !m.Body.(*Drain).Final {
		t.Fatalf("got %+v, %v", m, err)
	}
	if _, err := b.Receive(); err != io.EOF {
		t.Fatalf("got %v from a closed connection", err)
	}
}

func TestStatusCounts(t *testing.T) {
	if _, err := ViewStatus(make([]byte, StatusBytes-1)); err == nil {
		t.Fatal("a short segment was accepted")
	}
	s, err := ViewStatus(make([]byte, StatusBytes))
	if err != nil {
		t.Fatal(err)
	}
	s.Beat()
	s.Add(CountReplayed, 3)
	s.Add(CountReplayed, 4)
	if s.Heartbeat() != 1 || s.Count(CountReplayed) != 7 || s.Count(CountRequests) != 0 {
		t.Fatalf("heartbeat %d, replayed %d, requests %d", s.Heartbeat(), s.Count(CountReplayed), s.Count(CountRequests))
	}
}

func FuzzDecode(f *testing.F) {
	for _, form := range forms {
		p, err := encode(1, form.body())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p, form.descriptors)
	}
	f.Fuzz(func(t *testing.T, p []byte, descriptors int) {
		if descriptors < 0 || descriptors > 8 {
			return
		}
		m, err := decode(p, make([]int, descriptors), true)
		if (m.Body == nil) == (err == nil) {
			t.Fatalf("body %v with error %v", m.Body, err)
		}
	})
}

// TestUnknownFieldsAreIgnored: a later release may say more than this one knows.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	m, err := decode([]byte(`{"v":1,"kind":"hello","later":1,"body":{"name":"x","later":{"a":[1]}}}`), nil, true)
	if err != nil {
		t.Fatal(err)
	}
	if hello, ok := m.Body.(*Hello); !ok || hello.Name != "x" {
		t.Errorf("decoded %+v", m.Body)
	}
}
