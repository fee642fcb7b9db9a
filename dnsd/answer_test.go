package dnsd

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

const shopZone = `
$TTL 1h
@    SOA ns1 hostmaster 7 3600 600 86400 300
@    NS  ns1
ns1  A   192.0.2.53
     AAAA 2001:db8:53::53
www  TXT "zone's own"
far  CNAME www
sub  NS  ns.sub
ns.sub A 198.18.0.1
`

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// testTopology is the reference example's three POPs.
func testTopology(tb testing.TB) *topology.Topology {
	tb.Helper()
	top := &topology.Topology{Name: "test", ASN: 64500, Anycast: topology.Anycast{
		Prefixes: prefixes("192.0.2.0/24", "2001:db8:53::/48"),
		DNS:      addrs("192.0.2.53", "2001:db8:53::53"),
		Web:      addrs("192.0.2.80", "2001:db8:53::80"),
	}}
	for i, at := range []string{"AMS", "NYC", "SIN"} {
		place, ok := topology.City(at)
		if !ok {
			tb.Fatalf("no city %q", at)
		}
		name := strings.ToLower(at)
		p := &topology.POP{Name: name, Index: i, At: place, Capacity: 1000}
		p.Nodes = []*topology.Node{{Name: name + "1", POP: p, Addrs: addrs(fmt.Sprintf("203.0.113.%d", 16*i+1), fmt.Sprintf("2001:db8:a%d::1", i+1))}}
		top.POPs = append(top.POPs, p)
	}
	return top
}

func testGeo(tb testing.TB) *geodata.Sources {
	tb.Helper()
	var rows []geodata.Row
	for at, list := range map[string][]netip.Prefix{
		"BER": prefixes("198.51.100.0/27", "2001:db8:c1::/48", "127.0.0.0/8"),
		"NYC": prefixes("198.51.100.64/27", "2001:db8:c3::/48"),
		"TYO": prefixes("198.51.100.128/27", "2001:db8:c5::/48"),
	} {
		place, _ := topology.City(at)
		for _, p := range list {
			rows = append(rows, geodata.Row{Prefix: p, Country: place.Country, Continent: place.Continent, Lat: place.Lat, Lon: place.Lon})
		}
	}
	var b bytes.Buffer
	if err := geodata.Build(&b, rows); err != nil {
		tb.Fatal(err)
	}
	db, err := geodata.FromBytes(b.Bytes())
	if err != nil {
		tb.Fatal(err)
	}
	return &geodata.Sources{Databases: []*geodata.DB{db}}
}

func testConfig(tb testing.TB) Config {
	tb.Helper()
	return Config{
		Topology: testTopology(tb), Node: "ams1", Geo: testGeo(tb),
		Zones: []ZoneSource{{Origin: "shop.example", File: "zones/shop.example", Text: []byte(shopZone)}},
		Sites: []*site.Site{{Name: "shop", Hosts: []*site.Host{
			{Name: "www.shop.example", Steer: site.Geo, TTL: 2 * time.Second},
			{Name: "img.shop.example", Steer: site.Anycast, TTL: 300 * time.Second},
			{Name: "api.shop.example", Steer: site.Geo, TTL: 20 * time.Second, Targets: []*site.Target{
				{Name: "frankfurt", At: "FRA", Addresses: addrs("198.18.0.10"), Weight: 1},
				{Name: "ashburn", At: "IAD", Addresses: addrs("198.18.1.10"), Weight: 1},
			}},
		}}},
	}
}

func testServer(tb testing.TB) *Server {
	tb.Helper()
	s, err := New(Options{Node: "ams1", POP: "ams"})
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Apply(testConfig(tb)); err != nil {
		tb.Fatal(err)
	}
	return s
}

// answerOne answers one packet with a reader of its own.
func answerOne(s *Server, packet []byte, from asker) []byte {
	w := s.newWorker(s.tcp)
	w.now = s.o.Now()
	return w.one(packet, nil, from)
}

// ask packs a query, has it answered and unpacks the answer.
func ask(tb testing.TB, s *Server, m *dns.Msg, from asker) *dns.Msg {
	tb.Helper()
	packet, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	out := answerOne(s, packet, from)
	r := new(dns.Msg)
	if err := r.Unpack(out); err != nil {
		tb.Fatalf("our answer % x: %v", out, err)
	}
	return r
}

func query(name string, qtype uint16, options ...dns.EDNS0) *dns.Msg {
	m := new(dns.Msg).SetQuestion(name, qtype)
	if options != nil {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = options
	}
	return m
}

func subnet(text string) dns.EDNS0 {
	p := netip.MustParsePrefix(text)
	family := uint16(1)
	if p.Addr().Is6() {
		family = 2
	}
	return &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}
}

// data is what the answer section says, in a line.
func data(m *dns.Msg) string {
	var out []string
	for _, rr := range m.Answer {
		out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return strings.Join(out, " ")
}

func ecsOf(m *dns.Msg) *dns.EDNS0_SUBNET {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_SUBNET); ok {
				return e
			}
		}
	}
	return nil
}

func TestSteeringBySubnet(t *testing.T) {
	s := testServer(t)
	for _, c := range []struct {
		rule, name, qtype, ecs, from string
		want                         string
		scope                        int // -1: no option in the answer
	}{
		{"by the subnet, whoever asks", "www.shop.example.", "A", "198.51.100.64/27", "198.51.100.1", "203.0.113.17", 27},
		{"another subnet, another POP", "www.shop.example.", "A", "198.51.100.128/32", "198.51.100.1", "203.0.113.33", 27},
		{"a shorter subnet: by its first address, the true length", "www.shop.example.", "A", "198.51.100.64/26", "198.51.100.130", "203.0.113.17", 27},
		{"IPv6 subnet", "www.shop.example.", "A", "2001:db8:c3::/48", "198.51.100.1", "203.0.113.17", 48},
		{"IPv6 answer", "www.shop.example.", "AAAA", "198.51.100.64/27", "198.51.100.1", "2001:db8:a2::1", 27},
		{"unknown subnet: file order for the unknown network", "www.shop.example.", "A", "198.51.100.224/27", "198.51.100.66", "203.0.113.1", 26},
		{"SOURCE 0: by the resolver, scope 0", "www.shop.example.", "A", "0.0.0.0/0", "198.51.100.66", "203.0.113.17", 0},
		{"no option: by the resolver", "www.shop.example.", "A", "", "198.51.100.66", "203.0.113.17", -1},
		{"no option, IPv6 resolver", "www.shop.example.", "A", "", "2001:db8:c5::53", "203.0.113.33", -1},
		{"anycast: scope 0", "img.shop.example.", "A", "198.51.100.64/27", "198.51.100.1", "192.0.2.80", 0},
		{"through a CNAME: the scope of the host", "far.shop.example.", "A", "198.51.100.64/27", "198.51.100.1", "www.shop.example. 203.0.113.17", 27},
		{"a record of the zone: scope 0", "ns1.shop.example.", "A", "198.51.100.64/27", "198.51.100.1", "192.0.2.53", 0},
		{"another type at a steered host: scope 0", "www.shop.example.", "TXT", "198.51.100.64/27", "198.51.100.1", `"zone's own"`, 0},
		{"own targets", "api.shop.example.", "A", "198.51.100.64/27", "198.51.100.1", "198.18.1.10", 27},
		{"own targets without the family: NODATA, scope 0", "api.shop.example.", "AAAA", "198.51.100.64/27", "198.51.100.1", "", 0},
		{"NODATA: scope 0", "www.shop.example.", "MX", "198.51.100.64/27", "198.51.100.1", "", 0},
		{"NXDOMAIN: scope 0", "no.shop.example.", "A", "198.51.100.64/27", "198.51.100.1", "", 0},
		{"referral: scope 0", "x.sub.shop.example.", "A", "198.51.100.64/27", "198.51.100.1", "", 0},
		{"REFUSED: scope 0", "other.example.", "A", "198.51.100.64/27", "198.51.100.1", "", 0},
	} {
		t.Run(c.rule, func(t *testing.T) {
			m := query(c.name, dns.StringToType[c.qtype])
			if c.ecs != "" {
				m = query(c.name, dns.StringToType[c.qtype], subnet(c.ecs))
			}
			r := ask(t, s, m, asker{addr: netip.MustParseAddr(c.from)})
			if got := data(r); got != c.want {
				t.Errorf("answer %q, want %q", got, c.want)
			}
			e := ecsOf(r)
			if (e != nil) != (c.scope >= 0) {
				t.Fatalf("option in the answer: %v, want one only if the query had one", e)
			}
			if e == nil {
				return
			}
			asked := subnet(c.ecs).(*dns.EDNS0_SUBNET)
			if int(e.SourceScope) != c.scope || e.SourceNetmask != asked.SourceNetmask || e.Family != asked.Family || !e.Address.Equal(asked.Address) {
				t.Errorf("option %v scope %d; want family, source and address as asked (%v) and scope %d", e, e.SourceScope, asked, c.scope)
			}
		})
	}
}

// The very next answer after SetView leaves a dead POP out, and its return brings it back; the scope stays.
func TestViewMovesTheNextAnswer(t *testing.T) {
	if fault.Is(fault.DNSKeepsDeadPOP) {
		t.Skip("health is planted away")
	}
	s := testServer(t)
	view := func(state health.State) *health.View {
		return &health.View{POPs: map[string]health.POPView{"nyc": {Services: map[health.Service]health.ServiceView{health.Web: {State: state}}}}}
	}
	for _, c := range []struct {
		state health.State
		want  string
	}{{health.Up, "203.0.113.17"}, {health.Draining, "203.0.113.1"}, {health.Down, "203.0.113.1"}, {health.Degraded, "203.0.113.17"}, {health.Unknown, "203.0.113.17"}} {
		s.SetView(view(c.state))
		r := ask(t, s, query("www.shop.example.", dns.TypeA, subnet("198.51.100.64/27")), asker{})
		if data(r) != c.want || ecsOf(r).SourceScope != 27 || r.Answer[0].Header().Ttl != 2 {
			t.Errorf("nyc is %v: %v scope %d; want %s, ttl 2, scope 27", c.state, r.Answer, ecsOf(r).SourceScope, c.want)
		}
	}
}

func TestWithoutGeodata(t *testing.T) {
	s := testServer(t)
	c := testConfig(t)
	c.Geo = nil
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	r := ask(t, s, query("www.shop.example.", dns.TypeA, subnet("198.51.100.64/27")), asker{})
	if data(r) != "203.0.113.1" || ecsOf(r).SourceScope != 0 {
		t.Errorf("%s scope %d; want the first POP for everybody (scope 0)", data(r), ecsOf(r).SourceScope)
	}
}

func TestProtocol(t *testing.T) {
	s := testServer(t)
	edns := func(m *dns.Msg, change func(*dns.OPT)) *dns.Msg {
		m.SetEdns0(4096, false)
		change(m.IsEdns0())
		return m
	}
	class := func(m *dns.Msg, c uint16) *dns.Msg { m.Question[0].Qclass = c; return m }
	for _, c := range []struct {
		rule  string
		query *dns.Msg
		rcode int
		check func(*dns.Msg) bool
	}{
		{"authoritative answer", query("ns1.shop.example.", dns.TypeA), dns.RcodeSuccess, func(m *dns.Msg) bool { return m.Authoritative && !m.RecursionAvailable && m.RecursionDesired }},
		{"0x20: the question comes back as it was", query("nS1.sHop.eXample.", dns.TypeA), dns.RcodeSuccess, func(m *dns.Msg) bool {
			return m.Question[0].Name == "nS1.sHop.eXample." && m.Answer[0].Header().Name == "nS1.sHop.eXample."
		}},
		{"0x20 at a steered host", query("wWw.sHop.eXample.", dns.TypeA), dns.RcodeSuccess, func(m *dns.Msg) bool { return m.Answer[0].Header().Name == "wWw.sHop.eXample." }},
		{"no OPT without one", query("ns1.shop.example.", dns.TypeA), dns.RcodeSuccess, func(m *dns.Msg) bool { return m.IsEdns0() == nil }},
		{"OPT: our size, their DO", edns(query("ns1.shop.example.", dns.TypeA), func(o *dns.OPT) { o.SetDo() }), dns.RcodeSuccess, func(m *dns.Msg) bool { o := m.IsEdns0(); return o.UDPSize() == 1232 && o.Do() && o.Version() == 0 }},
		{"NSID", query("ns1.shop.example.", dns.TypeA, &dns.EDNS0_NSID{Code: dns.EDNS0NSID}), dns.RcodeSuccess, func(m *dns.Msg) bool {
			return m.IsEdns0().Option[0].(*dns.EDNS0_NSID).Nsid == hex.EncodeToString([]byte("ams/ams1"))
		}},
		{"unknown options are left out", query("ns1.shop.example.", dns.TypeA, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte{1}}), dns.RcodeSuccess, func(m *dns.Msg) bool { return len(m.IsEdns0().Option) == 0 }},
		{"RFC 6891 §6.1.3: BADVERS", edns(query("ns1.shop.example.", dns.TypeA), func(o *dns.OPT) { o.SetVersion(1) }), dns.RcodeBadVers, func(m *dns.Msg) bool { return len(m.Answer) == 0 && m.IsEdns0().Version() == 0 }},
		{"AXFR over UDP", query("shop.example.", dns.TypeAXFR), dns.RcodeRefused, nil},
		{"IXFR", query("shop.example.", dns.TypeIXFR), dns.RcodeRefused, nil},
		{"OPT as a question", query("shop.example.", dns.TypeOPT), dns.RcodeFormatError, nil},
		{"TKEY", query("shop.example.", dns.TypeTKEY), dns.RcodeNotImplemented, nil},
		{"not ours", query("example.net.", dns.TypeA), dns.RcodeRefused, func(m *dns.Msg) bool { return !m.Authoritative && len(m.Ns) == 0 }},
		{"class ANY", class(query("ns1.shop.example.", dns.TypeA), dns.ClassANY), dns.RcodeRefused, nil},
		{"NOTIFY", new(dns.Msg).SetNotify("shop.example."), dns.RcodeNotImplemented, func(m *dns.Msg) bool { return m.Opcode == dns.OpcodeNotify }},
		{"UPDATE", new(dns.Msg).SetUpdate("shop.example."), dns.RcodeNotImplemented, nil},
		{"id.server", class(query("id.server.", dns.TypeTXT), dns.ClassCHAOS), dns.RcodeSuccess, func(m *dns.Msg) bool { return data(m) == `"ams/ams1"` && m.Answer[0].Header().Ttl == 0 }},
		{"hostname.bind", class(query("HOSTNAME.bind.", dns.TypeTXT), dns.ClassCHAOS), dns.RcodeSuccess, func(m *dns.Msg) bool { return data(m) == `"ams/ams1"` }},
		{"version.bind", class(query("version.bind.", dns.TypeTXT), dns.ClassCHAOS), dns.RcodeRefused, nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			r := ask(t, s, c.query, asker{})
			if r.Id != c.query.Id || !r.Response {
				t.Errorf("id %d response %v; want %d, true", r.Id, r.Response, c.query.Id)
			}
			if r.Rcode != c.rcode {
				t.Errorf("rcode %s, want %s", dns.RcodeToString[r.Rcode], dns.RcodeToString[c.rcode])
			}
			if c.check != nil && !c.check(r) {
				t.Errorf("answer is not as it should be:\n%v", r)
			}
		})
	}
}

func TestMalformedSubnetIsFORMERR(t *testing.T) {
	s := testServer(t)
	for rule, o := range map[string][]byte{
		"bits beyond SOURCE": {0, 1, 25, 0, 198, 51, 100, 0x40},
		"scope in a query":   {0, 1, 24, 24, 198, 51, 100},
		"source over 32":     {0, 1, 33, 0, 198, 51, 100, 7, 0},
	} {
		r := ask(t, s, query("www.shop.example.", dns.TypeA, &dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: o}), asker{})
		if r.Rcode != dns.RcodeFormatError || len(r.Answer) != 0 || r.IsEdns0() == nil || ecsOf(r) != nil {
			t.Errorf("%s: want FORMERR with an OPT and no subnet, got:\n%v", rule, r)
		}
	}
}

func TestSizes(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("@ SOA n m 1 1 1 1 1\n@ NS n\n")
	for i := range 60 {
		fmt.Fprintf(&text, "many A 192.0.2.%d\n", i)
		fmt.Fprintf(&text, "more TXT \"%0100d\"\n", i)
	}
	if err := s.Apply(Config{Zones: []ZoneSource{{Origin: "big.example", Text: []byte(text.String())}}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule, name string
		qtype      uint16
		size       uint16 // 0: no EDNS
		tcp        bool
		limit      int
		cut        bool
	}{
		{"512 without EDNS", "many.big.example.", dns.TypeA, 0, false, 512, true},
		{"1232 with it", "many.big.example.", dns.TypeA, 4096, false, 1232, false},
		{"never more by UDP", "more.big.example.", dns.TypeTXT, 65535, false, 1232, true},
		{"a tiny size counts as 512", "many.big.example.", dns.TypeA, 100, false, 512, true},
		{"all of it by TCP", "more.big.example.", dns.TypeTXT, 0, true, 65535, false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			m := query(c.name, c.qtype)
			if c.size > 0 {
				m.SetEdns0(c.size, false)
			}
			packet, _ := m.Pack()
			out := answerOne(s, packet, asker{tcp: c.tcp})
			var r dns.Msg
			if err := r.Unpack(out); err != nil {
				t.Fatal(err)
			}
			if len(out) > c.limit || r.Truncated != c.cut || (len(r.Answer) == 60) == c.cut || (r.IsEdns0() != nil) != (c.size > 0) {
				t.Errorf("%d bytes, TC %v, %d records; want at most %d, TC %v", len(out), r.Truncated, len(r.Answer), c.limit, c.cut)
			}
		})
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	s := testServer(t)
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"a host in no zone", func(c *Config) { c.Zones = nil }, `"api.shop.example." lies in no zone`},
		{"unknown node", func(c *Config) { c.Node = "fra1" }, `node "fra1" is not in topology "test"; want one of "ams1", "nyc1", "sin1"`},
		{"no topology to steer in", func(c *Config) { c.Topology = nil }, "there is no topology"},
		{"a host in two sites", func(c *Config) { c.Sites = append(c.Sites, &site.Site{Name: "twin", Hosts: c.Sites[0].Hosts}) }, `in site "shop" and in site "twin"`},
		{"CNAME at the top", func(c *Config) {
			c.Sites = []*site.Site{{Name: "s", Hosts: []*site.Host{{Name: "shop.example", Steer: site.Geo, Targets: []*site.Target{{Name: "x", CNAME: "a.example", Weight: 1}}}}}}
		}, "top of its zone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := testConfig(t)
			c.change(&conf)
			if err := s.Apply(conf); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if r := ask(t, s, query("www.shop.example.", dns.TypeA, subnet("198.51.100.64/27")), asker{}); data(r) != "203.0.113.17" {
				t.Errorf("after a refused configuration: %v; want the old answer", r)
			}
		})
	}
}

func TestBeforeApplyRefuses(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r := ask(t, s, query("www.shop.example.", dns.TypeA), asker{}); r.Rcode != dns.RcodeRefused {
		t.Errorf("rcode %s, want REFUSED", dns.RcodeToString[r.Rcode])
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Options{Listen: []string{"localhost:53"}}); err == nil || !strings.Contains(err.Error(), `"localhost:53": want IP:port`) {
		t.Errorf("error %v, want the address named", err)
	}
}

// Whatever comes in: no crash; what goes out is a response to it, within the limits, and small when it is no answer.
func FuzzAnswer(f *testing.F) {
	s := testServer(f)
	add := func(m *dns.Msg) {
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet, false)
		f.Add(packet, true)
	}
	add(query("www.shop.example.", dns.TypeA, subnet("198.51.100.64/27"), &dns.EDNS0_NSID{Code: dns.EDNS0NSID}))
	add(query("far.shop.example.", dns.TypeAAAA))
	add(query("x.sub.shop.example.", dns.TypeANY))
	add(query("shop.example.", dns.TypeAXFR))
	add(new(dns.Msg).SetNotify("shop.example."))
	f.Add([]byte{}, false)
	f.Add(bytes.Repeat([]byte{0xc0, 0x0c}, 40), false)
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		out := answerOne(s, packet, asker{addr: netip.MustParseAddr("198.51.100.1"), tcp: tcp})
		if out == nil {
			if len(packet) >= 12 && packet[2]&0x80 == 0 {
				t.Errorf("a query without an answer: % x", packet)
			}
			return
		}
		var r dns.Msg
		if err := r.Unpack(out); err != nil {
			t.Fatalf("our answer cannot be read: %v", err)
		}
		if !bytes.Equal(out[:2], packet[:2]) || !r.Response || packet[2]&0x80 != 0 {
			t.Errorf("answer % x to % x", out[:4], packet[:4])
		}
		if !tcp && len(out) > PayloadSize || r.IsEdns0() == nil && !tcp && len(out) > 512 {
			t.Errorf("%d bytes by UDP", len(out))
		}
		// Refusing adds an OPT with NSID at most.
		if bare := r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError && r.Rcode != dns.RcodeYXDomain; bare && len(out) > len(packet)+64 {
			t.Errorf("%s: %d bytes for %d", dns.RcodeToString[r.Rcode], len(out), len(packet))
		}
	})
}
