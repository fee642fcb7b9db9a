package client

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/topology"
)

// tree is a parent that delegates and a child that answers by ECS, with a count of what each was asked.
type tree struct {
	*world
	mu   sync.Mutex // guards the following
	seen map[string]int
	now  time.Duration
	ttl  uint32
	lame bool // the child's first server answers REFUSED
}

const parentAt, childAt, secondAt = "203.0.113.145:53", "192.0.2.53:53", "203.0.113.17:53"

func newTree(t *testing.T) *tree {
	t.Helper()
	tr := &tree{world: newWorld(t), seen: map[string]int{}, ttl: 10}
	tr.nameServer(parentAt, func(q *dns.Msg, _ bool) *dns.Msg {
		tr.count("parent")
		m := new(dns.Msg)
		m.SetReply(q)
		m.Ns = records(t, "shop.example. 300 NS ns1.shop.example.", "shop.example. 300 NS ns2.shop.example.")
		m.Extra = records(t, "ns1.shop.example. 300 A 192.0.2.53", "ns2.shop.example. 300 A 203.0.113.17")
		return m
	})
	for _, server := range []string{childAt, secondAt} {
		tr.nameServer(server, func(q *dns.Msg, _ bool) *dns.Msg { return tr.child(t, server, q) })
	}
	return tr
}

func (tr *tree) child(t *testing.T, server string, q *dns.Msg) *dns.Msg {
	t.Helper()
	tr.count(server)
	tr.mu.Lock()
	ttl, lame := tr.ttl, tr.lame
	tr.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	addr := "203.0.113.1"
	for _, o := range q.IsEdns0().Option {
		if s, ok := o.(*dns.EDNS0_SUBNET); ok {
			if s.Address.Equal(net.ParseIP("198.51.100.32")) {
				addr = "203.0.113.18"
			}
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: s.SourceNetmask, SourceScope: s.SourceNetmask, Address: s.Address})
		}
	}
	switch {
	case lame && server == childAt:
		m.Authoritative, m.Rcode = false, dns.RcodeRefused
	case q.Question[0].Name == "gone.shop.example.":
		m.Rcode = dns.RcodeNameError
		m.Ns = records(t, "shop.example. 300 SOA ns1.shop.example. hostmaster.shop.example. 1 3600 600 1209600 5")
	case q.Question[0].Name == "alias.shop.example.":
		m.Answer = records(t, "alias.shop.example. 300 CNAME www.shop.example.")
	case q.Question[0].Qtype == dns.TypeA:
		m.Answer = records(t, q.Question[0].Name+" 300 A "+addr)
		m.Answer[0].Header().Ttl = ttl
	default:
		m.Ns = records(t, "shop.example. 300 SOA ns1.shop.example. hostmaster.shop.example. 1 3600 600 1209600 5")
	}
	return m
}

func (tr *tree) count(who string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.seen[who]++
}

// asked returns and forgets how often each was asked.
func (tr *tree) asked() map[string]int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	was := tr.seen
	tr.seen = map[string]int{}
	return was
}

func (tr *tree) wait(d time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.now += d
}

func records(t *testing.T, lines ...string) []dns.RR {
	t.Helper()
	var all []dns.RR
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return all
}

func (tr *tree) recursor(t *testing.T, res topology.Resolver) *Recursor {
	t.Helper()
	res.Name = "res"
	topo := testTopology()
	topo.Internet.Networks = []*topology.Network{
		{Name: "berlin", Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/27")}},
		{Name: "lisbon", Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.32/27")}},
	}
	r, err := NewRecursor(RecursorOptions{
		Resolver: &res, Topology: topo, Net: tr, Hints: map[string][]netip.AddrPort{"example.": {netip.MustParseAddrPort(parentAt)}}, Timeout: time.Minute,
		Mono: func() int64 {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			return int64(time.Hour + tr.now)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask is what a client at an address is answered.
func ask(t *testing.T, r *Recursor, from, name string, qtype uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return r.reply(ctx, q, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from+":5353")))
}

const berlin, lisbon = "198.51.100.1", "198.51.100.33"

func wantAddr(t *testing.T, m *dns.Msg, addr string, ttl uint32) {
	t.Helper()
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) == 0 {
		t.Fatalf("got %v, want an address", m)
	}
	a, ok := m.Answer[len(m.Answer)-1].(*dns.A)
	if !ok || a.A.String() != addr || a.Hdr.Ttl != ttl {
		t.Errorf("got %v, want %s for %d s", m.Answer, addr, ttl)
	}
}

func TestRecursorFollowsReferralsAndCaches(t *testing.T) {
	tr := newTree(t)
	r := tr.recursor(t, topology.Resolver{})
	wantAddr(t, ask(t, r, berlin, "www.shop.example.", dns.TypeA), "203.0.113.1", 10)
	if got := tr.asked(); got["parent"] != 1 || got[childAt] != 1 {
		t.Errorf("asked %v, want the parent and then the child", got)
	}
	tr.wait(4 * time.Second)
	wantAddr(t, ask(t, r, lisbon, "www.shop.example.", dns.TypeA), "203.0.113.1", 6) // one cache, and no ECS
	if got := tr.asked(); len(got) != 0 {
		t.Errorf("asked %v although the answer is fresh", got)
	}
	tr.wait(6 * time.Second)
	wantAddr(t, ask(t, r, berlin, "www.shop.example.", dns.TypeA), "203.0.113.1", 10)
	if got := tr.asked(); got["parent"] != 0 || got[childAt] != 1 {
		t.Errorf("asked %v, want the child alone: its delegation lives", got)
	}
	tr.wait(300 * time.Second)
	ask(t, r, berlin, "www.shop.example.", dns.TypeA)
	if got := tr.asked(); got["parent"] != 1 {
		t.Errorf("asked %v, want the parent again: the delegation has expired", got)
	}
}

func TestRecursorTellsTheClientsNetworkOnlyWithECS(t *testing.T) {
	tr := newTree(t)
	r := tr.recursor(t, topology.Resolver{ECS: true})
	for range 2 {
		wantAddr(t, ask(t, r, berlin, "www.shop.example.", dns.TypeA), "203.0.113.1", 10)
		wantAddr(t, ask(t, r, lisbon, "www.shop.example.", dns.TypeA), "203.0.113.18", 10)
	}
	if got := tr.asked(); got[childAt] != 2 {
		t.Errorf("asked %v, want one question for each network", got)
	}
}

func TestRecursorThatIgnoresTTLs(t *testing.T) {
	tr := newTree(t)
	r := tr.recursor(t, topology.Resolver{MinTTL: time.Minute})
	wantAddr(t, ask(t, r, berlin, "www.shop.example.", dns.TypeA), "203.0.113.1", 60)
	tr.wait(59 * time.Second)
	wantAddr(t, ask(t, r, berlin, "www.shop.example.", dns.TypeA), "203.0.113.1", 1)
	if got := tr.asked(); got[childAt] != 1 {
		t.Errorf("asked %v within the minimum", got)
	}
	r.Forget()
	wantAddr(t, ask(t, r, berlin, "www.shop.example.", dns.TypeA), "203.0.113.1", 60)
}

func TestRecursorKeepsNegativeAnswersAndFollowsAliases(t *testing.T) {
	tr := newTree(t)
	r := tr.recursor(t, topology.Resolver{})
	for range 2 {
		m := ask(t, r, berlin, "gone.shop.example.", dns.TypeA)
		if m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 {
			t.Errorf("got %v, want NXDOMAIN with the SOA", m)
		}
	}
	if got := tr.asked(); got[childAt] != 1 {
		t.Errorf("asked %v, want once", got)
	}
	tr.wait(5 * time.Second)
	ask(t, r, berlin, "gone.shop.example.", dns.TypeA)
	if got := tr.asked(); got[childAt] != 1 {
		t.Errorf("asked %v, want again after the negative TTL", got)
	}
	for range 2 {
		m := ask(t, r, berlin, "alias.shop.example.", dns.TypeA)
		wantAddr(t, m, "203.0.113.1", 10)
		if len(m.Answer) != 2 {
			t.Errorf("got %v, want the alias and its target", m.Answer)
		}
	}
}

func TestRecursorGoesOnToTheNextServer(t *testing.T) {
	tr := newTree(t)
	tr.lame = true
	r := tr.recursor(t, topology.Resolver{})
	wantAddr(t, ask(t, r, berlin, "www.shop.example.", dns.TypeA), "203.0.113.1", 10)
	tr.wait(10 * time.Second)
	tr.asked()
	ask(t, r, berlin, "www.shop.example.", dns.TypeA)
	if got := tr.asked(); got[childAt] != 0 || got[secondAt] != 1 {
		t.Errorf("asked %v, want the server that was good", got)
	}
	tr.world.mu.Lock()
	tr.dead[secondAt] = net.ErrClosed
	tr.world.mu.Unlock()
	tr.wait(10 * time.Second)
	if m := ask(t, r, berlin, "www.shop.example.", dns.TypeA); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("no server answers: got %v, want SERVFAIL", m)
	}
}
