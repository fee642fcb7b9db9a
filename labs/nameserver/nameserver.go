// Package nameserver is a name server of others in a lab: the root, or a parent zone that delegates the customer's. It
// answers from master files and does no more than that takes: exact names, aliases of its own, and referrals with glue.
// It knows no wildcards, no DNSSEC and no transfers.
package nameserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/topology"
)

// payload is the UDP size that answers may have (RFC 9715 §3.1); a longer one is truncated.
const payload = 1232

// Zone is a master file.
type Zone struct {
	Origin string
	Text   []byte
}

// Options configures a Server. All are required.
type Options struct {
	Host   string // for messages
	Zones  []Zone
	Addrs  []netip.Addr
	Listen func(ctx context.Context, network, address string) (net.PacketConn, error)
}

// Server is one name server.
type Server struct {
	o     Options
	zones []*zone
}

// zone is a zone's records by owner, in lower case.
type zone struct {
	origin string
	soa    *dns.SOA
	names  map[string][]dns.RR
}

// New reads the zones; it opens nothing.
func New(o Options) (*Server, error) {
	s := &Server{o: o}
	for _, z := range o.Zones {
		parsed, err := parse(z)
		if err != nil {
			return nil, fmt.Errorf("name server %q: zone %s: %w", o.Host, z.Origin, err)
		}
		s.zones = append(s.zones, parsed)
	}
	return s, nil
}

func parse(z Zone) (*zone, error) {
	out := &zone{origin: dns.CanonicalName(z.Origin), names: map[string][]dns.RR{}}
	p := dns.NewZoneParser(bytes.NewReader(z.Text), out.origin, "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		owner := dns.CanonicalName(rr.Header().Name)
		if soa, is := rr.(*dns.SOA); is {
			out.soa = soa
		}
		out.names[owner] = append(out.names[owner], rr)
		for name := owner; name != out.origin && name != "."; { // what lies above it exists, too (RFC 8020)
			if name = up(name); out.names[name] == nil {
				out.names[name] = []dns.RR{}
			}
		}
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if out.soa == nil {
		return nil, errors.New("no SOA")
	}
	return out, nil
}

// up cuts the first label off a name.
func up(name string) string {
	_, parent, _ := strings.Cut(name, ".")
	if parent == "" {
		return "."
	}
	return parent
}

// Run answers on all addresses until ctx is done; it calls ready once they are open.
func (s *Server) Run(ctx context.Context, ready func()) error {
	var sockets []net.PacketConn
	var work sync.WaitGroup
	defer work.Wait()
	defer func() {
		for _, c := range sockets {
			c.Close()
		}
	}()
	for _, a := range s.o.Addrs {
		c, err := s.o.Listen(ctx, "udp", netip.AddrPortFrom(a, topology.PortDNS).String())
		if err != nil {
			return fmt.Errorf("name server %q: listen: %w", s.o.Host, err)
		}
		sockets = append(sockets, c)
	}
	for _, c := range sockets {
		work.Go(func() { s.serve(ctx, c) })
	}
	ready()
	<-ctx.Done()
	return nil
}

func (s *Server) serve(ctx context.Context, c net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		q := new(dns.Msg)
		if err != nil || q.Unpack(buf[:n]) != nil || q.Response || len(q.Question) != 1 {
			continue
		}
		m := s.Answer(q)
		m.Truncate(payload)
		if text, err := m.Pack(); err == nil {
			_, _ = c.WriteTo(text, from) // lost, as a datagram may be
		}
	}
}

// Answer is what the server says to a question (RFC 1034 §4.3.2).
func (s *Server) Answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = false
	if q.IsEdns0() != nil {
		m.SetEdns0(payload, false)
	}
	name := dns.CanonicalName(q.Question[0].Name)
	z := s.closest(name)
	if z == nil {
		m.Rcode = dns.RcodeRefused
		return m
	}
	if cut := z.cut(name); cut != "" {
		m.Ns = z.only(cut, dns.TypeNS)
		m.Extra = append(m.Extra, z.glue(m.Ns)...)
		return m
	}
	m.Authoritative = true
	records, exists := z.names[name]
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	for _, rr := range records {
		if t := rr.Header().Rrtype; t == q.Question[0].Qtype || t == dns.TypeCNAME {
			m.Answer = append(m.Answer, rr)
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{z.soa}
	}
	return m
}

// closest is the deepest zone that holds a name, or nil.
func (s *Server) closest(name string) *zone {
	var best *zone
	for _, z := range s.zones {
		if dns.IsSubDomain(z.origin, name) && (best == nil || len(z.origin) > len(best.origin)) {
			best = z
		}
	}
	return best
}

// cut is the delegation nearest to the apex that a name lies at or below, or "".
func (z *zone) cut(name string) string {
	found := ""
	for name != z.origin && name != "." {
		if len(z.only(name, dns.TypeNS)) > 0 {
			found = name
		}
		name = up(name)
	}
	return found
}

func (z *zone) only(name string, qtype uint16) []dns.RR {
	var all []dns.RR
	for _, rr := range z.names[name] {
		if rr.Header().Rrtype == qtype {
			all = append(all, rr)
		}
	}
	return all
}

// glue are the addresses in the zone of the servers that it refers to.
func (z *zone) glue(servers []dns.RR) []dns.RR {
	var all []dns.RR
	for _, rr := range servers {
		if ns, ok := rr.(*dns.NS); ok {
			host := dns.CanonicalName(ns.Ns)
			all = append(append(all, z.only(host, dns.TypeA)...), z.only(host, dns.TypeAAAA)...)
		}
	}
	return all
}
