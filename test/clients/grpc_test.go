package clients

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// mirrorService answers each message with itself, one or as many as come.
var mirrorService = grpc.ServiceDesc{
	ServiceName: "test.Mirror",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "One", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var m wrapperspb.BytesValue
		if err := decode(&m); err != nil {
			return nil, err
		}
		if len(m.Value) == 0 {
			return nil, status.Error(codes.InvalidArgument, "nothing")
		}
		return &m, nil
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Many", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for {
			var m wrapperspb.BytesValue
			if err := s.RecvMsg(&m); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if err := s.SendMsg(&m); err != nil {
				return err
			}
		}
	}}},
}

// TestGRPC: calls and streams, both ways at once, over one connection.
func TestGRPC(t *testing.T) {
	p, deaths := pair(t)
	l, err := p.B.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&mirrorService, nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	each(t, p, func(t *testing.T, ip netip.Addr) {
		dial := func(ctx context.Context, address string) (net.Conn, error) {
			return p.A.DialContext(ctx, "tcp", address)
		}
		c, err := grpc.NewClient("passthrough:///"+netip.AddrPortFrom(ip, port).String(),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		enough := deaths.Load() + deathsMin
		var wg sync.WaitGroup
		for n := range workers {
			r := rand.New(rand.NewPCG(uint64(n), 2))
			wg.Go(func() {
				for i := 0; i < requestsEach || deaths.Load() < enough; i++ {
					want := random(r, 1+r.IntN(200_000))
					var got wrapperspb.BytesValue
					if err := c.Invoke(t.Context(), "/test.Mirror/One", wrapperspb.Bytes(want), &got); err != nil || !bytes.Equal(got.Value, want) {
						t.Errorf("call %d with %d bytes: %d bytes, %v", i, len(want), len(got.Value), err)
						return
					}
				}
				if err := converse(t.Context(), c, r); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var nothing wrapperspb.BytesValue
		if err := c.Invoke(t.Context(), "/test.Mirror/One", &nothing, &nothing); status.Code(err) != codes.InvalidArgument {
			t.Errorf("an error of the server's came as %v", err)
		}
	})
}

// converse sends messages while it receives them.
func converse(ctx context.Context, c *grpc.ClientConn, r *rand.Rand) error {
	s, err := c.NewStream(ctx, &mirrorService.Streams[0], "/test.Mirror/Many")
	if err != nil {
		return err
	}
	messages := make([][]byte, 200)
	for i := range messages {
		messages[i] = random(r, r.IntN(20_000))
	}
	sent := make(chan error, 1)
	go func() {
		for _, m := range messages {
			if err := s.SendMsg(wrapperspb.Bytes(m)); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend()
	}()
	for _, want := range messages {
		var got wrapperspb.BytesValue
		if err := s.RecvMsg(&got); err != nil {
			return errors.Join(err, <-sent)
		}
		if !bytes.Equal(got.Value, want) {
			return errors.New("a message of a stream is another")
		}
	}
	if err := s.RecvMsg(new(wrapperspb.BytesValue)); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("the stream does not end"), err)
	}
	return <-sent
}
