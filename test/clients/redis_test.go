package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quintet-os/quintet/gateway/nat"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/networktest"
)

// far is where the guest finds the database: somewhere in the world.
var far = netip.MustParseAddrPort("192.0.2.1:6379")

// startRedis runs a server of the host's, and returns its socket.
func startRedis(t *testing.T) (socket string) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		testenv.Skip(t, err.Error()+"; see tools/packages.txt")
	}
	dir := t.TempDir()
	socket = filepath.Join(dir, "socket")
	server := exec.Command(program, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no")
	var out bytes.Buffer
	server.Stdout, server.Stderr = &out, &out
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		server.Process.Kill()
		<-ended
	})
	for {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
			return socket
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("redis-server: %v\n%s", err, out.String())
		case <-time.After(time.Millisecond): // and look again
		}
	}
}

// guestOf returns a stack whose connections to the world lead to the socket, under a
// storm.
func guestOf(t *testing.T, socket string) (guest *client.Stack, deaths func() int64) {
	t.Helper()
	rig := networktest.New(t)
	host := networktest.Host(2)
	m := rig.Join(network.PortConfig{MAC: host.MAC, MTU: host.MTU, Uplink: true}, networktest.StackBuffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := nat.New(nat.Config{Port: port, MAC: host.MAC, MTU: host.MTU, Addresses: networktest.StackConfig(host).Addresses,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != far.String() {
				return nil, fmt.Errorf("the guest wants %s", address)
			}
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gateway.Close(); err != nil {
			t.Error(err)
		}
	})
	own := networktest.Host(1)
	cfg := networktest.StackConfig(own)
	cfg.Gateways = host.Addresses
	m = rig.Join(own, networktest.StackBuffers)
	if port, err = frames.NewPort(m.Client, m.Region, m.Buffers); err != nil {
		t.Fatal(err)
	}
	if guest, err = client.NewStack(port, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guest.Close() })
	rig.Serve()
	return guest, storm(t, rig).Load
}

// TestRedis: what was set is got, by many connections of a pool that never has to be
// filled again, and messages arrive in order.
func TestRedis(t *testing.T) {
	guest, deaths := guestOf(t, startRedis(t))
	db := redis.NewClient(&redis.Options{Addr: far.String(), PoolSize: workers, MaxRetries: -1, DialerRetries: 1,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute, Dialer: guest.DialContext})
	defer db.Close()
	enough := deaths() + deathsMin
	ctx := t.Context()
	var wg sync.WaitGroup
	wg.Go(func() { converseRedis(t, db) })
	for n := range workers {
		r := rand.New(rand.NewPCG(uint64(n), 3))
		wg.Go(func() {
			for i := 0; i < requestsEach || deaths() < enough; i++ {
				key, want := fmt.Sprintf("%d/%d", n, i), random(r, r.IntN(1<<uint(r.IntN(18))))
				if err := db.Set(ctx, key, want, 0).Err(); err != nil {
					t.Errorf("%s: %v", key, err)
					return
				}
				if got, err := db.Get(ctx, key).Bytes(); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes of %d, %v", key, len(got), len(want), err)
					return
				}
				if err := db.Incr(ctx, "count").Err(); err != nil {
					t.Error(err)
					return
				}
				counts, err := db.Pipelined(ctx, func(p redis.Pipeliner) error {
					for range 20 {
						p.Incr(ctx, key+"/count")
					}
					return nil
				})
				if err != nil || counts[19].(*redis.IntCmd).Val() != 20 {
					t.Errorf("%s: a pipeline gave %v, %v", key, counts, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if _, err := db.Get(ctx, "nothing").Result(); !errors.Is(err, redis.Nil) {
		t.Errorf("a key that is not there: %v", err)
	}
	if s := db.PoolStats(); s.StaleConns != 0 {
		t.Errorf("connections had to be replaced: %+v", s)
	}
}

// converseRedis publishes messages and expects them in order.
func converseRedis(t *testing.T, db *redis.Client) {
	const messages = 300
	ctx := t.Context()
	subscriber := db.Subscribe(ctx, "news")
	defer subscriber.Close()
	if _, err := subscriber.Receive(ctx); err != nil {
		t.Error(err)
		return
	}
	sent := make(chan error, 1)
	go func() {
		for i := range messages {
			if err := db.Publish(ctx, "news", i).Err(); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range messages {
		m, err := subscriber.ReceiveMessage(ctx)
		if err != nil || m.Payload != fmt.Sprint(i) {
			t.Errorf("message %d is %v, %v", i, m, err)
			break
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}
