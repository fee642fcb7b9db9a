package dnsd

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/rrl"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/site"
)

// down is a View in which these POPs' web services are down.
func down(pops ...string) *health.View {
	v := &health.View{POPs: map[string]health.POPView{}}
	for _, name := range pops {
		v.POPs[name] = health.POPView{Services: map[health.Service]health.ServiceView{health.Web: {State: health.Down}}}
	}
	return v
}

func skipPlanted(t *testing.T) {
	t.Helper()
	if fault.Is(fault.DNSKeepsDeadPOP) || fault.Is(fault.AnswersEmpty) {
		t.Skip("health is planted away")
	}
}

// Databases, rules and health change while clients ask: every query is answered, and by one of the states whole. An
// address with the scope of another state would be kept by a resolver for people who should not have it.
func TestChangesUnderQueriesMixNothing(t *testing.T) {
	skipPlanted(t)
	byPlace := testConfig(t)
	byRule := testConfig(t)
	byRule.Geo.Rules.Prefixes = []*geodata.Rule{{Prefix: netip.MustParsePrefix("198.51.100.64/28"), To: []string{"sin"}}}
	s, addr := start(t, Options{Node: "ams1", POP: "ams", Listen: []string{"127.0.0.1:0"}, RateLimit: rrl.Options{Rate: -1}}, byPlace)
	allowed := map[string]bool{
		"203.0.113.17 /27": true, // nyc is nearest
		"203.0.113.1 /27":  true, // nyc is down
		"203.0.113.33 /28": true, // by the rule, whether nyc is up or not
		"203.0.113.17 /28": true, // by the rule, and sin is down
	}
	const clients, each = 4, 800
	var seen sync.Map
	var left atomic.Int32
	left.Store(clients)
	var asking sync.WaitGroup
	for range clients {
		asking.Go(func() {
			defer left.Add(-1)
			conn, err := dns.DialTimeout("udp", addr, limit)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			c := dns.Client{Timeout: limit}
			for range each {
				r, _, err := c.ExchangeWithConn(query("www.shop.example.", dns.TypeA, subnet("198.51.100.64/28")), conn)
				if err != nil {
					t.Errorf("a query without an answer: %v", err)
					return
				}
				got := "no option"
				if e := ecsOf(r); e != nil {
					got = fmt.Sprintf("%s /%d", data(r), e.SourceScope)
				}
				if seen.Store(got, true); !allowed[got] {
					t.Errorf("answered %s, which is no state whole", got)
					return
				}
			}
		})
	}
	for i := 0; left.Load() > 0; i++ {
		c := byPlace
		if i&1 == 1 {
			c = byRule
		}
		if err := s.Apply(c); err != nil {
			t.Fatal(err)
		}
		if i&2 == 0 {
			s.SetView(down("nyc"))
		} else {
			s.SetView(down("sin"))
		}
	}
	asking.Wait()
}

// What resolvers send and must get back (RFC 7871 §7, design §7).
func TestClientSubnetOfSteeredHosts(t *testing.T) {
	skipPlanted(t)
	s := testServer(t)
	c := testConfig(t)
	c.Sites[0].Hosts = append(c.Sites[0].Hosts,
		&site.Host{Name: "w.shop.example", Steer: site.Weighted, TTL: 20e9},
		&site.Host{Name: "pin.shop.example", Steer: site.Pinned, TTL: 20e9},
		&site.Host{Name: "two.shop.example", Steer: site.Geo, Nearest: 2, TTL: 20e9},
		&site.Host{Name: "closed.shop.example", Steer: site.Geo, Closed: true, TTL: 20e9},
	)
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule, name, ecs string
		down            []string
		records, scope  int
	}{
		{"the range's length, shorter than SOURCE", "www", "198.51.100.64/32", nil, 1, 27},
		{"the range's length, longer than SOURCE", "www", "198.51.100.64/26", nil, 1, 27},
		{"SOURCE 0", "www", "0.0.0.0/0", nil, 1, 0},
		{"SOURCE 0 of IPv6", "www", "::/0", nil, 1, 0},
		{"the same scope with the POP down", "www", "198.51.100.64/32", []string{"nyc"}, 1, 27},
		{"the same scope with all down", "www", "198.51.100.64/32", []string{"ams", "nyc", "sin"}, 1, 27},
		{"weighted: the client's network", "w", "198.51.100.64/32", nil, 1, 24},
		{"weighted, with a POP down: the same", "w", "198.51.100.64/32", []string{"nyc"}, 1, 24},
		{"weighted, IPv6", "w", "2001:db8:c3:1::/64", nil, 1, 48},
		{"pinned: everybody", "pin", "198.51.100.64/32", []string{"ams"}, 1, 0},
		{"two nearest: one scope for both", "two", "198.51.100.64/32", nil, 2, 27},
		{"closed, all down: NODATA is for everybody", "closed", "198.51.100.64/32", []string{"ams", "nyc", "sin"}, 0, 0},
		{"closed, one up", "closed", "198.51.100.64/32", []string{"ams", "nyc"}, 1, 27},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s.SetView(down(c.down...))
			for range 2 { // made anew, and as it was packed
				r := ask(t, s, query(c.name+".shop.example.", dns.TypeA, subnet(c.ecs)), asker{addr: netip.MustParseAddr("198.51.100.1")})
				e := ecsOf(r)
				if e == nil || len(r.Answer) != c.records || int(e.SourceScope) != c.scope {
					t.Fatalf("%v, option %v; want %d records and scope %d", r.Answer, e, c.records, c.scope)
				}
				if asked := subnet(c.ecs).(*dns.EDNS0_SUBNET); e.SourceNetmask != asked.SourceNetmask || e.Family != asked.Family || !e.Address.Equal(asked.Address) {
					t.Errorf("option %v, want family, source and address of %v", e, asked)
				}
				if c.records == 0 && (r.Rcode != dns.RcodeSuccess || len(r.Ns) != 1 || r.Ns[0].Header().Ttl != 20) {
					t.Errorf("%v; want NODATA that is kept no longer than an address, 20 s", r)
				}
			}
		})
	}
}

// A view in which nothing changes for answers keeps all that is packed.
func TestViewsThatChangeNoAnswerKeepWhatIsPacked(t *testing.T) {
	skipPlanted(t)
	s := testServer(t)
	s.SetView(down("nyc"))
	before := s.state.Load()
	again := down("nyc")
	again.Seq, again.Nodes = 7, map[string]health.NodeView{"nyc1": {Why: "new kernel"}}
	s.SetView(again)
	if s.state.Load() != before {
		t.Error("another state, though no answer is another")
	}
	if err := s.Apply(testConfig(t)); err != nil {
		t.Fatal(err)
	}
	r := ask(t, s, query("www.shop.example.", dns.TypeA, subnet("198.51.100.64/27")), asker{})
	if data(r) != "203.0.113.1" {
		t.Errorf("after another configuration %s; want the view to hold: nyc is down", data(r))
	}
}

// The live answer and its explanation are one decision.
func TestExplain(t *testing.T) {
	skipPlanted(t)
	s := testServer(t)
	s.SetView(down("nyc"))
	client := netip.MustParseAddr("198.51.100.65")
	all, err := s.Explain(client, "")
	if err != nil || len(all) != 3 {
		t.Fatalf("%d hosts, %v; want 3", len(all), err)
	}
	one, err := s.Explain(client, "WWW.shop.example.")
	if err != nil || len(one) != 1 {
		t.Fatalf("%+v, %v", one, err)
	}
	e := one[0]
	if e.A.Names[0] != "ams" || e.A.Reason != "nearest, next: nyc is down" || e.Scope.String() != "198.51.100.64/27" || e.TTL != 2 || e.Seen.Country != "US" {
		t.Errorf("explained as %+v", e)
	}
	if r := e.Ranking[0]; r.Name != "nyc" || r.State != "down" || r.Gets || r.KM == nil || *r.KM > 50 {
		t.Errorf("first in rank is %+v, want nyc, down, near", r)
	}
	if _, err := s.Explain(client, "nobody.example"); err == nil {
		t.Error("a host that is not steered is explained")
	}
	empty, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := empty.Explain(client, ""); err == nil {
		t.Error("a server without a configuration explains")
	}
}
