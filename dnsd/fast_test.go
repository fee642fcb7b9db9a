package dnsd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/rrl"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/site"
)

// shapesZone has every shape of name that the fast path tells apart.
const shapesZone = `
$TTL 1h
@       SOA ns1 hostmaster 7 3600 600 86400 300
@       NS  ns1
@       NS  NS2.Other.Example.
@       MX  10 mail
@       TXT "apex" "of the zone"
@       CAA 0 issue "ca.example"
ns1     A   192.0.2.53
        AAAA 2001:db8:53::53
mail    A   192.0.2.25
deep.empty.non.terminal A 192.0.2.1
*.wild  A   192.0.2.2
*.wild  MX  10 *.wild
*.wild  TXT "any"
a.b.wild TXT "beside"
sub.wild NS ns.sub.wild
ns.sub.wild A 198.18.0.3
*.alias CNAME target
*.out   CNAME www.other.example.
*.loop  CNAME x.loop
*.chain CNAME one
one     CNAME two
two     CNAME three
three   CNAME www
loop1   CNAME loop2
loop2   CNAME loop1
target  A   192.0.2.3
target  AAAA 2001:db8::3
dangle  CNAME nowhere
away    CNAME www.other.example.
to.ent  CNAME empty.non.terminal
to.sub  CNAME host.sub
sub     NS  ns.sub
sub     NS  ns.other.example.
sub     DS  1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub  A   198.18.0.1
ns.sub  AAAA 2001:db8:5::1
moved   DNAME kept
moved   TXT "the DNAME itself"
x.kept  A   192.0.2.4
long    DNAME long-label-that-makes-names-overflow-when-they-are-moved.long-label-that-makes-names-overflow-when-they-are-moved.long-label-that-makes-names-overflow-when-they-are-moved.kept
www     TXT "zone's own"
far     CNAME www
far2    CNAME far
srv     SRV 1 2 3 target
svc     HTTPS 1 . alpn=h2
www     HTTPS 1 . alpn=h2
api     HTTPS 0 www
svcb    SVCB 1 www port=8443
tlsa    TLSA 3 1 1 0000000000000000000000000000000000000000000000000000000000000000
naptr   NAPTR 1 1 "u" "sip" "!x!y!" .
ptr     PTR www
odd     TYPE65400 \# 3 010203
cased   CNAME WWW.Shop.Example.
cased2  MX 5 Mail.SHOP.example.
`

// shapes is a configuration of all shapes, with one zone below another and one whose answers are too large.
func shapes(tb testing.TB) Config {
	tb.Helper()
	c := testConfig(tb)
	var big strings.Builder
	big.WriteString("$TTL 300\n@ SOA n m 1 1 1 1 1\n@ NS n\n* TXT \"w\"\n")
	for i := range 60 {
		fmt.Fprintf(&big, "many A 192.0.2.%d\nmore TXT \"%0100d\"\nfew A 198.18.0.%d\n", i, i, i%25)
	}
	c.Zones = []ZoneSource{
		{Origin: "shop.example", Text: []byte(shapesZone)},
		{Origin: "below.shop.example", Text: []byte("@ SOA n m 1 1 1 1 1\n@ NS n\n@ A 192.0.2.9\nx A 192.0.2.8\n*.y CNAME x\n")},
		{Origin: "big.example", Text: []byte(big.String())},
	}
	c.Sites[0].Hosts = append(c.Sites[0].Hosts,
		&site.Host{Name: "cdn.shop.example", Steer: site.Geo, TTL: 20 * time.Second, Targets: []*site.Target{
			{Name: "own", Regions: []string{"EU"}, Addresses: addrs("198.18.0.11", "2001:db8:f1::11"), Weight: 1},
			{Name: "other", Regions: []string{"NA", "AS"}, CNAME: "shop.othercdn.example", Weight: 1},
			{Name: "here", Regions: []string{"OC"}, CNAME: "www.shop.example", Weight: 1},
		}},
		&site.Host{Name: "w.shop.example", Steer: site.Weighted, TTL: 20 * time.Second},
		&site.Host{Name: "two.geo.shop.example", Steer: site.Geo, TTL: 20 * time.Second, Nearest: 2},
		&site.Host{Name: "closed.shop.example", Steer: site.Geo, TTL: 20 * time.Second, Closed: true},
	)
	return c
}

// generator makes queries about the names of zones.
type generator struct {
	r     *rand.Rand
	names []string
}

func newGenerator(seed uint64, c Config) *generator {
	g := &generator{r: rand.New(rand.NewPCG(seed, 3)), names: []string{".", "example.", "other.example.", "id.server."}}
	for _, z := range c.Zones {
		g.names = append(g.names, z.Origin+".")
		for line := range strings.Lines(string(z.Text)) {
			if f := strings.Fields(line); len(f) > 0 && line[0] != ' ' && f[0] != "@" && f[0] != "$TTL" {
				g.names = append(g.names, f[0]+"."+z.Origin+".")
			}
		}
	}
	for _, s := range c.Sites {
		for _, h := range s.Hosts {
			g.names = append(g.names, h.Name+".")
		}
	}
	slices.Sort(g.names)
	g.names = slices.Compact(g.names)
	return g
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func (g *generator) name() string {
	n := pick(g.r, g.names...)
	switch g.r.IntN(6) {
	case 0:
		n = pick(g.r, "x.", "*.", "foo.", "deep.er.", "www.", "ns.", `\000.`, `a\.b.`, "_tcp.") + strings.TrimPrefix(n, ".")
	case 1:
		if _, rest, ok := strings.Cut(n, "."); ok && rest != "" {
			n = rest
		}
	case 2:
		n = strings.Replace(n, "*", pick(g.r, "x", "a.b", "target", "sub"), 1)
	case 3:
		n = strings.Repeat(pick(g.r, "l.", "long-label-here."), g.r.IntN(12)) + strings.TrimPrefix(n, ".")
	}
	if n == "" {
		n = "."
	}
	b := []byte(n)
	if g.r.IntN(2) == 0 {
		for i := range b {
			if 'a' <= b[i] && b[i] <= 'z' && g.r.IntN(2) == 0 {
				b[i] -= 'a' - 'A'
			}
		}
	}
	return string(b)
}

func (g *generator) qtype() uint16 {
	switch g.r.IntN(8) {
	case 0, 1, 2:
		return pick(g.r, dns.TypeA, dns.TypeAAAA)
	case 3, 4, 5:
		return pick(g.r, quick[:]...)
	case 6:
		return pick(g.r, dns.TypeANY, dns.TypeDS, dns.TypeDNAME, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeDNSKEY, dns.TypeHINFO, dns.TypeAXFR, dns.TypeOPT, dns.TypeTKEY, uint16(0), uint16(65400))
	}
	return uint16(g.r.IntN(300))
}

// query makes a packet, and sometimes a damaged one.
func (g *generator) query() []byte {
	r := g.r
	m := new(dns.Msg)
	m.SetQuestion("x.", g.qtype())
	m.Question[0].Name = g.name()
	m.RecursionDesired, m.CheckingDisabled = r.IntN(2) == 0, r.IntN(4) == 0
	if r.IntN(20) == 0 {
		m.Question[0].Qclass = pick(r, uint16(dns.ClassCHAOS), uint16(dns.ClassANY), uint16(dns.ClassNONE))
	}
	if r.IntN(30) == 0 {
		m.Opcode = r.IntN(16)
	}
	if r.IntN(3) > 0 {
		m.SetEdns0(pick(r, uint16(0), 512, 1232, 4096, 65535), r.IntN(2) == 0)
		o := m.IsEdns0()
		if r.IntN(30) == 0 {
			o.SetVersion(1)
		}
		for range r.IntN(4) {
			o.Option = append(o.Option, g.option())
		}
		if r.IntN(50) == 0 {
			m.Extra = append(m.Extra, o)
		}
	}
	p, err := m.Pack()
	if err != nil {
		return g.query()
	}
	switch r.IntN(20) {
	case 0:
		for range 1 + r.IntN(3) {
			p[r.IntN(len(p))] ^= 1 << r.IntN(8)
		}
	case 1:
		p = p[:r.IntN(len(p)+1)]
	case 2:
		p = append(p, byte(r.IntN(256)))
	}
	return p
}

func (g *generator) option() dns.EDNS0 {
	r := g.r
	switch r.IntN(8) {
	case 0:
		return &dns.EDNS0_NSID{Code: dns.EDNS0NSID}
	case 1:
		b := make([]byte, pick(r, 8, 16, 24, 40, 8, 8, 7, 41))
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return &dns.EDNS0_LOCAL{Code: dns.EDNS0COOKIE, Data: b}
	case 2:
		return &dns.EDNS0_LOCAL{Code: uint16(65000 + r.IntN(10)), Data: []byte{1, 2, 3}}
	case 3:
		return &dns.EDNS0_LOCAL{Code: dns.EDNS0TCPKEEPALIVE, Data: make([]byte, r.IntN(2))}
	case 4:
		return subnet(pick(r, "0.0.0.0/0", "::/0", "198.51.100.0/24", "2001:db8:c1::/48", "198.51.100.64/27", "198.51.100.65/32"))
	case 5:
		return &dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: pick(r, []byte{0, 1, 25, 0, 198, 51, 100, 0x40}, []byte{0, 7, 24, 0, 1}, []byte{0, 1, 24, 3, 1, 2, 3}, []byte{0})}
	case 6:
		var a [16]byte
		copy(a[:], []byte{0x20, 0x01, 0x0d, 0xb8, 0, byte(0xc0 + r.IntN(8)), byte(r.IntN(4))})
		p, _ := netip.AddrFrom16(a).Prefix(32 + r.IntN(97))
		return subnet(p.String())
	}
	p, _ := netip.AddrFrom4([4]byte{198, 51, 100, byte(r.IntN(256))}).Prefix(8 + r.IntN(25))
	return subnet(p.String())
}

func (g *generator) asker() asker {
	from := asker{tcp: g.r.IntN(5) == 0, anycast: true, addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(g.r.IntN(256))})}
	if g.r.IntN(4) == 0 {
		from.addr = netip.MustParseAddr(pick(g.r, "2001:db8:c1::1", "2001:db8:c3::1", "2001:db8:ff::1", "127.0.0.1"))
	}
	return from
}

func randomView(r *rand.Rand) *health.View {
	v := &health.View{POPs: map[string]health.POPView{}}
	for _, pop := range []string{"ams", "nyc", "sin"} {
		v.POPs[pop] = health.POPView{
			Weight:   pick(r, 1, 0.5, 0.9),
			Services: map[health.Service]health.ServiceView{health.Web: {State: pick(r, health.Up, health.Up, health.Down, health.Draining, health.Degraded)}},
		}
	}
	return v
}

// The packed answers are those that the slow path gives, byte for byte, whatever is asked, and whatever health and
// configuration do meanwhile.
func TestFastIsSlow(t *testing.T) {
	const queries = 60_000
	c := shapes(t)
	s, err := New(Options{Node: "ams1", POP: "ams", RateLimit: rrl.Options{Rate: -1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	g := newGenerator(1, c)
	fast, slow := s.newWorker(s.metrics.newCounters()), s.newWorker(s.metrics.newCounters())
	slow.plain = true
	rcodes, made := map[int]int{}, 0
	for n := range queries {
		switch {
		case n%3000 == 2999:
			s.SetView(randomView(g.r))
		case n%20000 == 19999:
			c.Sites[0].Hosts[0].TTL += time.Second
			if err := s.Apply(c); err != nil {
				t.Fatal(err)
			}
		}
		packet, from := g.query(), g.asker()
		got, want := fast.answer(packet, nil, from), slow.answer(packet, nil, from)
		if fast.tally.slow {
			made++
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("query %d % x from %+v:\nfast % x\nslow % x\n%s\n%s\n%s", n, packet, from, got, want, text(packet), text(got), text(want))
		}
		if want != nil {
			rcodes[int(want[3]&0xf)]++
			if err := new(dns.Msg).Unpack(want); err != nil && !strings.Contains(err.Error(), "address family") {
				t.Fatalf("query %d: our answer cannot be read: %v", n, err)
			}
		}
	}
	t.Logf("%d queries, %d of them made anew; rcodes %v", queries, made, rcodes)
	if made > queries/3 {
		t.Errorf("%d of %d answers were made anew; the fast path hardly takes part", made, queries)
	}
}

func text(packet []byte) string {
	var m dns.Msg
	if err := m.Unpack(packet); err != nil {
		return err.Error()
	}
	return m.String()
}

func FuzzFastIsSlow(f *testing.F) {
	c := shapes(f)
	s, err := New(Options{Node: "ams1", POP: "ams", RateLimit: rrl.Options{Rate: -1}})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Apply(c); err != nil {
		f.Fatal(err)
	}
	g := newGenerator(2, c)
	for range 50 {
		f.Add(g.query())
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		from := asker{addr: netip.MustParseAddr("198.51.100.65")}
		fast, slow := s.newWorker(s.tcp), s.newWorker(s.tcp)
		slow.plain = true
		if got, want := fast.answer(packet, nil, from), slow.answer(packet, nil, from); !bytes.Equal(got, want) {
			t.Errorf("% x:\nfast % x\nslow % x", packet, got, want)
		}
	})
}

// What is packed is answered without allocation: steered, static and missing names, with client subnet and NSID.
func TestNoAllocation(t *testing.T) {
	s := testServer(t)
	w := s.newWorker(s.metrics.newCounters())
	w.now = time.Now()
	out := make([]byte, 0, PayloadSize)
	nsid := &dns.EDNS0_NSID{Code: dns.EDNS0NSID}
	for _, m := range []*dns.Msg{
		query("wWw.shop.example.", dns.TypeA, subnet("198.51.100.64/27"), nsid),
		query("www.shop.example.", dns.TypeAAAA),
		query("img.shop.example.", dns.TypeA, subnet("2001:db8:c5::/48")),
		query("api.shop.example.", dns.TypeA, subnet("198.51.100.64/27")),
		query("far.shop.example.", dns.TypeA, subnet("198.51.100.64/27")),
		query("ns1.shop.example.", dns.TypeAAAA),
		query("a.long.missing.name.shop.example.", dns.TypeA, subnet("198.51.100.64/27")),
		query("ns1.shop.example.", dns.TypeTXT),
		query("host.sub.shop.example.", dns.TypeA),
		query("other.example.", dns.TypeA),
	} {
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		from := asker{addr: netip.MustParseAddr("198.51.100.1"), anycast: true}
		if n := testing.AllocsPerRun(100, func() { w.answer(packet, out, from) }); n != 0 {
			t.Errorf("%v: %v allocations, want none", m.Question[0], n)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	s := testServer(b)
	for _, c := range []struct {
		name  string
		query *dns.Msg
	}{
		{"steered", query("www.shop.example.", dns.TypeA, subnet("198.51.100.64/27"))},
		{"static", query("ns1.shop.example.", dns.TypeA)},
		{"missing", query("missing.shop.example.", dns.TypeA, subnet("198.51.100.64/27"))},
	} {
		for _, plain := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/plain=%v", c.name, plain), func(b *testing.B) {
				packet, _ := c.query.Pack()
				w := s.newWorker(s.metrics.newCounters())
				w.plain = plain
				out := make([]byte, 0, PayloadSize)
				from := asker{addr: netip.MustParseAddr("198.51.100.1"), anycast: true}
				b.ReportAllocs()
				for b.Loop() {
					w.answer(packet, out, from)
				}
			})
		}
	}
}
