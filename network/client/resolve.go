package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/quintet-os/quintet/network/dns"
)

// newResolver is that of package net with the stack's names and resolvers in place of
// the host's.
func (s *Stack) newResolver() *net.Resolver {
	answerer := &dns.Answerer{Names: s.cfg.Names}
	if len(s.cfg.Resolvers) > 0 {
		answerer.Forward = dns.Exchange(s.DialContext, dns.Fixed(s.cfg.Resolvers...))
	}
	return &net.Resolver{PreferGo: true, Dial: answerer.Dial}
}

// Resolver resolves names of the network's domains and, over the stack, all others,
// which need not be addresses. It follows the host's /etc/hosts and the search list of
// its /etc/resolv.conf, as package net does, for names without a dot at the end.
func (s *Stack) Resolver() *net.Resolver { return s.resolver }

// LookupNetIP returns the addresses of a name, or of a literal address: those of a
// domain of the network if there is one of the name, and whatever the host's settings
// are; names are complete as they are. Errors are *net.DNSError and those of
// Config.Names.
func (s *Stack) LookupNetIP(ctx context.Context, name string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{ip}, nil
	}
	if own := s.self(); name == "localhost" && own != nil {
		return own, nil
	}
	e, err := s.cfg.Names.Lookup(ctx, name)
	if err != nil || len(e.Addresses) > 0 {
		return e.Addresses, err
	}
	if e.Own || len(s.cfg.Resolvers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	ips, err := s.resolver.LookupNetIP(ctx, "ip", strings.TrimSuffix(name, ".")+".")
	var failed *net.DNSError
	if errors.As(err, &failed) {
		failed.Name, failed.Server = name, "" // it has seen a name of ours, and no server
	}
	return ips, err
}
