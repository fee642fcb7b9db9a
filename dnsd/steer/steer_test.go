package steer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

func city(tb testing.TB, code string) topology.Place {
	tb.Helper()
	p, ok := topology.City(code)
	if !ok {
		tb.Fatalf("no city %q", code)
	}
	return p
}

// world is three POPs; ams has two nodes, sin has IPv4 only.
func world(tb testing.TB) *topology.Topology {
	tb.Helper()
	top := &topology.Topology{Name: "test", Anycast: topology.Anycast{Web: addrs("192.0.2.80", "2001:db8:53::80")}}
	add := func(name, at string, nodes ...[]netip.Addr) {
		p := &topology.POP{Name: name, Index: len(top.POPs), At: city(tb, at), Capacity: 1000}
		for i, a := range nodes {
			p.Nodes = append(p.Nodes, &topology.Node{Name: fmt.Sprintf("%s%d", name, i+1), POP: p, Addrs: a})
		}
		top.POPs = append(top.POPs, p)
	}
	add("ams", "AMS", addrs("203.0.113.1", "2001:db8:a1::1"), addrs("203.0.113.2", "2001:db8:a1::2"))
	add("nyc", "NYC", addrs("203.0.113.17", "2001:db8:a2::1"))
	add("sin", "SIN", addrs("203.0.113.33"))
	return top
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// view marks POPs ("ams", for its web service) and nodes ("ams1"; "ams1 drain") as down or draining.
func view(down ...string) *health.View {
	v := &health.View{POPs: map[string]health.POPView{}, Nodes: map[string]health.NodeView{}}
	bad := map[health.Service]health.ServiceView{health.Web: {State: health.Down}, health.DNS: {State: health.Up}}
	for _, name := range down {
		node, draining := strings.CutSuffix(name, " drain")
		switch {
		case draining:
			v.Nodes[node] = health.NodeView{Draining: true}
		case len(name) > 3:
			v.Nodes[name] = health.NodeView{Services: bad}
		default:
			v.POPs[name] = health.POPView{Services: bad}
		}
	}
	return v
}

// networks are where the clients of tests are.
func networks() map[string]netip.Prefix {
	out := map[string]netip.Prefix{}
	for i, code := range []string{"BER", "SAO", "SYD", "NYC", "TYO", "LIS"} {
		out[code] = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(32 * i)}), 27)
	}
	return out
}

// at is a client in a city.
func at(tb testing.TB, code string) netip.Addr {
	tb.Helper()
	n, ok := networks()[code]
	if !ok {
		tb.Fatalf("no clients in %q", code)
	}
	return n.Addr().Next()
}

// clients is a database of networks, and of what else a test wants.
func clients(tb testing.TB, more ...geodata.Row) *geodata.Sources {
	tb.Helper()
	rows := more
	for code, n := range networks() {
		p := city(tb, code)
		rows = append(rows, geodata.Row{Prefix: n, Country: p.Country, Continent: p.Continent, Lat: p.Lat, Lon: p.Lon})
	}
	return database(tb, rows)
}

// failer is what testing.TB and rapid.T share.
type failer interface {
	Helper()
	Fatal(args ...any)
}

func database(tb failer, rows []geodata.Row) *geodata.Sources {
	tb.Helper()
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

// scene is a host's policy with the Compiler it is of.
type scene struct {
	*Policy
	c *Compiler
}

// decide is Decide by a View.
func (s scene) decide(client netip.Addr, family int, v *health.View) Decision {
	return s.Decide(client, family, s.c.Health(v, nil))
}

func compile(tb testing.TB, h *site.Host, top *topology.Topology) scene {
	tb.Helper()
	c := NewCompiler(top, clients(tb), nil)
	return scene{compileIn(tb, c, h), c}
}

func compileIn(tb testing.TB, c *Compiler, h *site.Host) *Policy {
	tb.Helper()
	p, err := c.Compile(h)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestGeoAmongPOPs(t *testing.T) {
	if fault.Is(fault.DNSKeepsDeadPOP) {
		t.Skip("health is planted away")
	}
	p := compile(t, &site.Host{Name: "www.shop.example", Steer: site.Geo, TTL: 2 * time.Second}, world(t))
	for _, c := range []struct {
		rule, from string
		family     int
		down       []string
		want       string // chosen, addresses, reason
	}{
		{"the nearest", "BER", 4, nil, "ams [203.0.113.1 203.0.113.2] nearest"},
		{"the nearest, IPv6", "BER", 6, nil, "ams [2001:db8:a1::1 2001:db8:a1::2] nearest"},
		{"another city", "SAO", 4, nil, "nyc [203.0.113.17] nearest"},
		{"another city yet", "SYD", 4, nil, "sin [203.0.113.33] nearest"},
		{"down: the next", "BER", 4, []string{"ams"}, "nyc [203.0.113.17] nearest, next: ams is down"},
		{"two down: the third", "BER", 4, []string{"ams", "nyc"}, "sin [203.0.113.33] nearest, next: ams is down, nyc is down"},
		{"all down: the nearest all the same", "BER", 4, []string{"ams", "nyc", "sin"}, "ams [203.0.113.1 203.0.113.2] nearest, though all are down"},
		{"a POP elsewhere is down", "BER", 4, []string{"sin"}, "ams [203.0.113.1 203.0.113.2] nearest"},
		{"one node down: the other's address", "BER", 4, []string{"ams1"}, "ams [203.0.113.2] nearest"},
		{"one node drains: the other's address", "BER", 4, []string{"ams2 drain"}, "ams [203.0.113.1] nearest"},
		{"all nodes down, the POP not yet: all addresses", "BER", 4, []string{"ams1", "ams2"}, "ams [203.0.113.1 203.0.113.2] nearest"},
		{"the nearest lacks the family: the next has it", "SYD", 6, nil, "ams [2001:db8:a1::1 2001:db8:a1::2] nearest"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			d := p.decide(at(t, c.from), c.family, view(c.down...))
			if c.from == "SYD" && c.family == 6 { // which of the two is nearer to Sydney does not matter here
				if d.Name == "sin" || len(d.Addrs) == 0 {
					t.Errorf("got %s %v, want a POP with IPv6", d.Name, d.Addrs)
				}
				return
			}
			if got := fmt.Sprintf("%s %v %s", d.Name, d.Addrs, d.Reason); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if d.TTL != 2 || d.Scope != networks()[c.from] {
				t.Errorf("ttl %d scope %v, want 2 and the client's network", d.TTL, d.Scope)
			}
		})
	}
}

func TestWhereNothingIsKnown(t *testing.T) {
	p := compile(t, &site.Host{Name: "www", Steer: site.Geo}, world(t))
	unknown := netip.MustParseAddr("192.0.2.1")
	if d := p.decide(unknown, 4, nil); d.Name != "ams" || d.Scope.String() != "192.0.0.0/6" {
		t.Errorf("unknown client: %s, scope %v; want the first POP for the unknown network", d.Name, d.Scope)
	}
	g := geography{places: []Place{{At: city(t, "AMS"), Placed: true}, {At: city(t, "SIN"), Placed: true}}, spots: 2, head: 4}
	g.prepare()
	if got := g.order(&geodata.Facts{Known: true, Place: geodata.Location{Country: "SG"}}); got[0] != 1 {
		t.Errorf("country without a point: %v, want the country's main town to decide", got)
	}
}

func TestOwnTargets(t *testing.T) {
	if fault.Is(fault.DNSKeepsDeadPOP) {
		t.Skip("health is planted away")
	}
	targets := []*site.Target{
		{Name: "frankfurt", At: "FRA", Addresses: addrs("198.18.0.10", "2001:db8:f1::10"), Weight: 1},
		{Name: "ashburn", At: "IAD", Addresses: addrs("198.18.1.10"), Weight: 3},
		{Name: "other", CNAME: "Shop.OtherCDN.example", Regions: []string{"AS", "OC", "PT"}, Weight: 1},
		{Name: "out", At: "TYO", Addresses: addrs("198.18.9.9"), Weight: 0},
	}
	for _, c := range []struct {
		rule   string
		steer  site.Steer
		from   string
		family int
		want   string
	}{
		{"distance", site.Geo, "BER", 4, "frankfurt [198.18.0.10]"},
		{"distance, over the sea", site.Geo, "NYC", 4, "ashburn [198.18.1.10]"},
		{"the nearest without the family", site.Geo, "NYC", 6, "frankfurt [2001:db8:f1::10]"},
		{"continent before distance", site.Geo, "TYO", 4, "other shop.othercdn.example."},
		{"a CNAME serves both families", site.Geo, "TYO", 6, "other shop.othercdn.example."},
		{"country before distance", site.Geo, "LIS", 4, "other shop.othercdn.example."},
		{"pinned: the first", site.Pinned, "TYO", 4, "frankfurt [198.18.0.10]"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p := compile(t, &site.Host{Name: "api", Steer: c.steer, Targets: targets}, nil)
			d := p.decide(at(t, c.from), c.family, nil)
			got := fmt.Sprintf("%s %v", d.Name, d.Addrs)
			if d.CNAME != "" {
				got = d.Name + " " + d.CNAME
			}
			if got != c.want {
				t.Errorf("got %s (order %v), want %s", got, d.Order, c.want)
			}
			if slices.Contains(d.Order, "out") {
				t.Error("a target of weight 0 is in the order")
			}
		})
	}
}

func TestAnycastAndPinned(t *testing.T) {
	if fault.Is(fault.DNSKeepsDeadPOP) {
		t.Skip("health is planted away")
	}
	anycast := compile(t, &site.Host{Name: "img", Steer: site.Anycast, TTL: 300 * time.Second}, world(t))
	d := anycast.decide(at(t, "BER"), 6, view("ams", "nyc", "sin"))
	if d.Name != "anycast" || !slices.Equal(d.Addrs, addrs("2001:db8:53::80")) || d.Scope.Bits() != 0 || d.TTL != 300 {
		t.Errorf("anycast: %+v; want the shared IPv6 address for everybody, 300 s, whatever is down", d)
	}
	pinned := compile(t, &site.Host{Name: "pin", Steer: site.Pinned}, world(t))
	for _, c := range []struct{ down, want string }{{"", "ams"}, {"ams", "nyc"}, {"ams nyc", "sin"}, {"ams nyc sin", "ams"}} {
		if d := pinned.decide(at(t, "SYD"), 4, view(strings.Fields(c.down)...)); d.Name != c.want || d.Scope.Bits() != 0 {
			t.Errorf("pinned, down %q: %s scope %v; want %s for everybody", c.down, d.Name, d.Scope, c.want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		host *site.Host
		top  *topology.Topology
		want string
	}{
		{&site.Host{Name: "a", Steer: site.Geo}, nil, "there is no topology"},
		{&site.Host{Name: "a", Steer: site.Geo}, &topology.Topology{}, "the topology has none"},
		{&site.Host{Name: "a", Steer: site.Anycast}, &topology.Topology{}, "no anycast web addresses"},
		{&site.Host{Name: "a", Steer: site.Geo, Targets: []*site.Target{{Name: "x", At: "QQQ", Weight: 1}}}, nil, `"QQQ"`},
		{&site.Host{Name: "a", Steer: site.Geo, Targets: []*site.Target{{Name: "x", At: "FRA"}}}, nil, "every target has weight 0"},
	} {
		if _, err := NewCompiler(c.top, nil, nil).Compile(c.host); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// Each target is first for its share of the networks, everybody in a scope has the same order, and when a target goes,
// only its own clients move.
func TestWeighted(t *testing.T) {
	if fault.Is(fault.DNSKeepsDeadPOP) {
		t.Skip("health is planted away")
	}
	top := world(t)
	top.POPs[0].Capacity = 3000
	p := compile(t, &site.Host{Name: "w", Steer: site.Weighted}, top)
	const count = 20000
	got := map[string]int{}
	for i := range count {
		c := netip.AddrFrom4([4]byte{byte(i >> 8), byte(i), 7, 9})
		d := p.decide(c, 4, nil)
		got[d.Name]++
		neighbour := netip.AddrFrom4([4]byte{byte(i >> 8), byte(i), 7, 200})
		if other := p.decide(neighbour, 4, nil); other.Name != d.Name || other.Scope != d.Scope || d.Scope.Bits() != 24 {
			t.Fatalf("%v: %s scope %v, its neighbour %s scope %v", c, d.Name, d.Scope, other.Name, other.Scope)
		}
		if without := p.decide(c, 4, view("nyc")); d.Name != "nyc" && without.Name != d.Name {
			t.Fatalf("%v moved from %s to %s though only nyc went", c, d.Name, without.Name)
		}
	}
	for name, share := range map[string]float64{"ams": 0.6, "nyc": 0.2, "sin": 0.2} {
		if part := float64(got[name]) / count; part < share-0.02 || part > share+0.02 {
			t.Errorf("%s gets %.3f of the networks, want %.1f", name, part, share)
		}
	}
}

// Every address in the scope of a decision gets the same order, whoever asks and whatever is down.
func TestScopeSharesTheOrder(t *testing.T) {
	top := world(t)
	places := []string{"BER", "LIS", "NYC", "SAO", "TYO", "SYD"}
	rapid.Check(t, func(rt *rapid.T) {
		var rows []geodata.Row
		seen := map[netip.Prefix]bool{}
		for range rapid.IntRange(0, 25).Draw(rt, "rows") {
			a := netip.AddrFrom4([4]byte{198, 51, rapid.Byte().Draw(rt, "c"), rapid.Byte().Draw(rt, "d")})
			p := netip.PrefixFrom(a, rapid.IntRange(10, 32).Draw(rt, "bits")).Masked()
			if at := city(t, rapid.SampledFrom(places).Draw(rt, "at")); !seen[p] {
				seen[p] = true
				rows = append(rows, geodata.Row{Prefix: p, Country: at.Country, Continent: at.Continent, Lat: at.Lat, Lon: at.Lon})
			}
		}
		c := NewCompiler(top, database(t, rows), nil)
		mode := rapid.SampledFrom([]site.Steer{site.Geo, site.Weighted, site.Pinned, site.Anycast}).Draw(rt, "steer")
		p := scene{compileIn(t, c, &site.Host{Name: "h", Steer: mode}), c}
		v := view(rapid.SliceOfDistinct(rapid.SampledFrom([]string{"ams", "nyc", "sin"}), rapid.ID[string]).Draw(rt, "down")...)
		addr := netip.AddrFrom4([4]byte{198, rapid.SampledFrom([]byte{51, 50}).Draw(rt, "b"), rapid.Byte().Draw(rt, "c"), rapid.Byte().Draw(rt, "d")})
		d := p.decide(addr, 4, v)
		if !d.Scope.Contains(addr) {
			rt.Fatalf("scope %v does not hold %v", d.Scope, addr)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		for range 16 {
			n := addr.As4()
			for i := d.Scope.Bits(); i < 32; i++ {
				n[i/8] ^= byte(r.IntN(2)) << (7 - i%8)
			}
			other := p.decide(netip.AddrFrom4(n), 4, v)
			if diff := cmp.Diff(d.Order, other.Order); diff != "" || d.Name != other.Name {
				rt.Fatalf("%v and %v share scope %v but not the order:\n%s", addr, netip.AddrFrom4(n), d.Scope, diff)
			}
		}
	})
}

// A dead node says nothing any more, and its last word was a good one: it is not answered while another node of its POP
// is heard. Where nobody is heard, as without gossip, all are.
func TestNodesThatSayNothingAreNotAnswered(t *testing.T) {
	if fault.Is(fault.DNSKeepsDeadPOP) {
		t.Skip("health is planted away")
	}
	p := compile(t, &site.Host{Name: "www.shop.example", Steer: site.Geo, TTL: 2 * time.Second}, world(t))
	up := map[health.Service]health.ServiceView{health.Web: {State: health.Up}}
	down := map[health.Service]health.ServiceView{health.Web: {State: health.Down}}
	for _, c := range []struct {
		rule       string
		ams1, ams2 health.NodeView
		want       string
	}{
		{"both are heard", health.NodeView{Services: up, Heard: true}, health.NodeView{Services: up, Heard: true}, "[203.0.113.1 203.0.113.2]"},
		{"one is dead", health.NodeView{Services: up, Heard: true}, health.NodeView{Services: up}, "[203.0.113.1]"},
		{"nobody is heard", health.NodeView{Services: up}, health.NodeView{Services: up}, "[203.0.113.1 203.0.113.2]"},
		{"the one that is heard is ill: better one that may live", health.NodeView{Services: down, Heard: true}, health.NodeView{Services: up}, "[203.0.113.2]"},
		{"nothing good anywhere", health.NodeView{Services: down, Heard: true}, health.NodeView{Services: down}, "[203.0.113.1 203.0.113.2]"},
		{"a daemon without its hub knows of no node's service", health.NodeView{Heard: true}, health.NodeView{}, "[203.0.113.1 203.0.113.2]"},
	} {
		v := view()
		v.Nodes["ams1"], v.Nodes["ams2"] = c.ams1, c.ams2
		if got := fmt.Sprint(p.decide(at(t, "BER"), 4, v).Addrs); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
	}
}
