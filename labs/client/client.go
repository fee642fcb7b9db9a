// Package client is one client network's user: a stub resolver that honours TTLs, and a browser that tries every address.
// The stub asks a Recursor or another resolver; where a network has none, the name servers themselves, with ECS. Each request becomes one labs.Sample, the evidence of drills.
//
//	load ── tick ──► resolve (cache, else each name server in turn) ──► try addresses, IPv6 first ──► verify ──► Sample
//
// It patiently does what resolvers and browsers do: another name server after 400 ms, another address after a refusal, a
// reset or a silence, and one more round over all addresses before it gives up. What is left is what a user would notice.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

// Options configures a Client. Topology, Network, Net, Servers and Verify are required.
type Options struct {
	Topology *topology.Topology
	Network  *topology.Network // the client network; its prefixes are sent as ECS
	Net      underlay.Net      // dials as a host of that network
	Servers  []netip.AddrPort  // the zone's name servers, in the order in which they are tried; port 0 means 53
	// Recursive says that Servers are the addresses of the network's resolver: it is asked to recurse, and told nothing
	// of the client.
	Recursive bool

	// Verify tells a right body from a wrong one (origin.Verify).
	Verify func(u *url.URL, header http.Header, body []byte, clientID string) error

	DNSTimeout time.Duration // for one name server; 0 means 400 ms, and 2 s for a resolver, which may have to try several
	DialWithin time.Duration // for one connection to open, while other addresses are left; 0 means 500 ms: one round trip to the far side of the world, and then some
	Total      time.Duration // for one whole HTTP request with all its tries, name resolution not counted; 0 means 3 s: the four round trips that a cold answer takes over the longest links, twice
	InFlight   int           // requests at once per load; one beyond it is a failed Sample; 0 means 128

	Seed uint64       // shifts the phases of the loads and marks the cookies
	Mono func() int64 // nil means event.Mono
}

// Client is one client network's user. It is safe for concurrent use.
type Client struct {
	o        Options
	resolver *resolver
	serial   atomic.Uint64 // of cookies
}

// New checks the options; it starts nothing and opens no socket.
func New(o Options) (*Client, error) {
	switch {
	case o.Topology == nil || o.Network == nil:
		return nil, errors.New("client: no topology or no network")
	case o.Net == nil:
		return nil, fmt.Errorf("client %q: no underlay", o.Network.Name)
	case len(o.Servers) == 0:
		return nil, fmt.Errorf("client %q: no name servers", o.Network.Name)
	case o.Verify == nil:
		return nil, fmt.Errorf("client %q: nothing verifies its answers", o.Network.Name)
	}
	if o.DNSTimeout <= 0 {
		o.DNSTimeout = 400 * time.Millisecond
		if o.Recursive {
			o.DNSTimeout = 2 * time.Second
		}
	}
	if o.DialWithin <= 0 {
		o.DialWithin = 500 * time.Millisecond
	}
	if o.Total <= 0 {
		o.Total = 3 * time.Second
	}
	if o.InFlight <= 0 {
		o.InFlight = 128
	}
	if o.Mono == nil {
		o.Mono = event.Mono
	}
	return &Client{o: o, resolver: newResolver(&o)}, nil
}

// Resolve asks for a host's addresses, or answers from the cache while the TTL lasts.
func (c *Client) Resolve(ctx context.Context, host string) Answer {
	return c.resolver.resolve(ctx, host)
}

// Forget drops every answer that was kept.
func (c *Client) Forget() { c.resolver.forget() }

// Do sends one request of the load and says how it went. The Sample's Error tells why it is not OK.
func (c *Client) Do(ctx context.Context, load labs.Load) labs.Sample {
	if load.DNS != "" {
		return c.AskAll(ctx, load)
	}
	s := labs.Sample{Client: c.o.Network.Name, Load: load.Name, Start: c.o.Mono()}
	if err := c.do(ctx, load, &s); err != nil {
		s.Error = err.Error()
	}
	s.OK = s.Error == ""
	s.End = c.o.Mono()
	return s
}

func (c *Client) do(ctx context.Context, load labs.Load, s *labs.Sample) error {
	serial := c.serial.Add(1)
	u, err := url.Parse(strings.ReplaceAll(load.URL, "{n}", fmt.Sprintf("%x-%d", c.o.Seed, serial)))
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return fmt.Errorf("load %q: URL %q: want http://host/path", load.Name, load.URL)
	}
	addrs, err := c.addresses(ctx, u.Hostname(), s)
	if err != nil {
		return err
	}
	id := fmt.Sprintf("%s-%s-%x-%d", c.o.Network.Name, load.Name, c.o.Seed, serial)
	a, err := c.get(ctx, u, addrs, id, s)
	if err != nil {
		return err
	}
	c.identify(a.header, s)
	s.Status = a.status
	if a.status != http.StatusOK {
		return fmt.Errorf("status %d %s", a.status, http.StatusText(a.status))
	}
	if err := c.o.Verify(u, a.header, a.body, id); err != nil {
		s.WrongBody = true
		return err
	}
	return nil
}

// addresses resolves the host, fills the Sample's DNS fields and puts the addresses in the order of their tries.
func (c *Client) addresses(ctx context.Context, host string, s *labs.Sample) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	answer := c.resolver.resolve(ctx, host)
	s.DNSAddrs, s.DNSFresh, s.DNSEmpty = answer.Addrs, answer.Fresh, answer.Empty
	s.DNSTime, s.DNSServer, s.DNSNode = answer.Received, answer.Server, answer.Node
	s.DNSPOP = c.popOf(answer.Addrs)
	if c.o.Recursive && c.o.Network.Resolver != nil {
		s.Resolver = c.o.Network.Resolver.Name
	}
	switch {
	case answer.Err != nil:
		s.DNSError = answer.Err.Error()
		return nil, answer.Err
	case len(answer.Addrs) == 0:
		s.DNSError = answer.Rcode + " without an address"
		return nil, fmt.Errorf("name server %s answered %s without an address for %q", answer.Server, answer.Rcode, host)
	}
	return interleave(answer.Addrs), nil
}

// popOf names the POP that the unicast addresses belong to; several are joined by "+"; anycast addresses give "".
func (c *Client) popOf(addrs []netip.Addr) string {
	name := ""
	for _, p := range c.o.Topology.POPs {
		for _, a := range addrs {
			if c.o.Topology.POPOf(a) != p {
				continue
			}
			if name != "" {
				name += "+"
			}
			name += p.Name
			break
		}
	}
	return name
}

// interleave orders addresses as browsers do: IPv6 first, then the families in turn (RFC 8305 §4).
func interleave(addrs []netip.Addr) []netip.Addr {
	var six, four, all []netip.Addr
	for _, a := range addrs {
		if a.Unmap().Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			all = append(all, six[i])
		}
		if i < len(four) {
			all = append(all, four[i])
		}
	}
	return all
}
