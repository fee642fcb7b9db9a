package steer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// skipPlanted skips a test of what a planted fault breaks.
func skipPlanted(t *testing.T) {
	t.Helper()
	if fault.Is(fault.DNSKeepsDeadPOP) || fault.Is(fault.AnswersEmpty) {
		t.Skip("health is planted away")
	}
}

// The choices that a host can ask for besides its way of steering.
func TestChoices(t *testing.T) {
	skipPlanted(t)
	pops := func(list ...string) (out []site.Share) {
		for _, name := range list {
			out = append(out, site.Share{Name: name, Weight: -1})
		}
		return out
	}
	all := []string{"ams", "nyc", "sin"}
	for _, c := range []struct {
		rule   string
		host   site.Host
		from   string
		family int
		down   []string
		want   string // the chosen ones
		scope  int
	}{
		{"two nearest", site.Host{Steer: site.Geo, Nearest: 2}, "BER", 4, nil, "ams nyc", 27},
		{"two nearest, one down: the third stands in", site.Host{Steer: site.Geo, Nearest: 2}, "BER", 4, []string{"ams"}, "nyc sin", 27},
		{"two nearest, one left", site.Host{Steer: site.Geo, Nearest: 2}, "BER", 4, []string{"ams", "sin"}, "nyc", 27},
		{"the nearest that have the family", site.Host{Steer: site.Geo, Nearest: 3}, "TYO", 6, nil, "ams nyc", 27},
		{"two nearest, all down: the two nearest", site.Host{Steer: site.Geo, Nearest: 2}, "BER", 4, all, "ams nyc", 27},
		{"only these POPs", site.Host{Steer: site.Geo, POPs: pops("nyc", "sin")}, "BER", 4, nil, "nyc", 26},
		{"only these POPs, both down: never another", site.Host{Steer: site.Geo, POPs: pops("nyc", "sin")}, "BER", 4, []string{"nyc", "sin"}, "nyc", 26},
		{"pinned in the host's order", site.Host{Steer: site.Pinned, POPs: pops("sin", "ams")}, "BER", 4, nil, "sin", 0},
		{"pinned in the host's order, the first down", site.Host{Steer: site.Pinned, POPs: pops("sin", "ams")}, "BER", 4, []string{"sin"}, "ams", 0},
		{"a fallback is not the nearest", site.Host{Steer: site.Geo, Fallback: []string{"ams"}}, "BER", 4, nil, "nyc", 26},
		{"a fallback when all others are down", site.Host{Steer: site.Geo, Fallback: []string{"ams"}}, "BER", 4, []string{"nyc", "sin"}, "ams", 26},
		{"all and the fallback down: the nearest of the usual ones", site.Host{Steer: site.Geo, Fallback: []string{"ams"}}, "BER", 4, all, "nyc", 26},
		{"a fallback that is none of the host's POPs", site.Host{Steer: site.Geo, POPs: pops("ams"), Fallback: []string{"sin", "nyc"}}, "BER", 4, []string{"ams"}, "sin", 0},
		{"fallbacks in their order", site.Host{Steer: site.Geo, POPs: pops("ams"), Fallback: []string{"sin", "nyc"}}, "BER", 4, []string{"ams", "sin"}, "nyc", 0},
		{"fail closed, one left", site.Host{Steer: site.Geo, Closed: true}, "BER", 4, []string{"ams", "nyc"}, "sin", 27},
		{"fail closed, all down: nothing, for everybody", site.Host{Steer: site.Geo, Closed: true}, "BER", 4, all, "", 0},
		{"fail closed, weighted", site.Host{Steer: site.Weighted, Closed: true}, "BER", 4, all, "", 0},
		{"fail closed, pinned", site.Host{Steer: site.Pinned, Closed: true}, "BER", 4, all, "", 0},
		{"fail closed with a fallback", site.Host{Steer: site.Geo, POPs: pops("ams"), Fallback: []string{"sin"}, Closed: true}, "BER", 4, []string{"ams"}, "sin", 0},
		{"weighted among one is for everybody", site.Host{Steer: site.Weighted, POPs: pops("ams")}, "BER", 4, nil, "ams", 0},
	} {
		t.Run(c.rule, func(t *testing.T) {
			c.host.Name = "www"
			d := compile(t, &c.host, world(t)).decide(at(t, c.from), c.family, view(c.down...))
			if got := strings.Join(d.Names, " "); got != c.want || d.Scope.Bits() != c.scope {
				t.Errorf("got %q scope %v (%s), want %q scope /%d", got, d.Scope, d.Reason, c.want, c.scope)
			}
			if (len(d.Addrs) == 0) != (c.want == "") {
				t.Errorf("addresses %v", d.Addrs)
			}
		})
	}
}

// Rules are trusted in the order of design §7; what none of them names follows by distance.
func TestRulesInTheOrderOfTrust(t *testing.T) {
	skipPlanted(t)
	rule := func(line int, r geodata.Rule) *geodata.Rule {
		r.File, r.Line = "steering.csv", line
		return &r
	}
	ber, _ := topology.City("BER")
	sources := database(t, []geodata.Row{
		{Prefix: netip.MustParsePrefix("198.51.0.0/16"), Country: "DE", Continent: "EU", Lat: ber.Lat, Lon: ber.Lon, ASN: 64501},
		{Prefix: netip.MustParsePrefix("198.52.0.0/16"), Country: "DE", Continent: "EU", Lat: ber.Lat, Lon: ber.Lon, ASN: 64502},
	})
	sources.Rules = geodata.Rules{
		Prefixes: []*geodata.Rule{rule(1, geodata.Rule{Prefix: netip.MustParsePrefix("198.51.1.0/24"), To: []string{"sin"}}), rule(2, geodata.Rule{Prefix: netip.MustParsePrefix("198.51.2.0/24"), To: []string{"mars"}})},
		ASNs:     []*geodata.Rule{rule(3, geodata.Rule{ASN: 64501, To: []string{"nyc", "sin"}})},
		Measured: []*geodata.Rule{rule(4, geodata.Rule{Prefix: netip.MustParsePrefix("198.48.0.0/12"), To: []string{"ams"}}), rule(5, geodata.Rule{Prefix: netip.MustParsePrefix("198.52.3.0/24"), To: []string{"sin"}})},
	}
	c := NewCompiler(world(t), sources, nil)
	p := scene{compileIn(t, c, &site.Host{Name: "www", Steer: site.Geo}), c}
	for _, c := range []struct{ rule, addr, down, order, reason, scope string }{
		{"a prefix rule beats all", "198.51.1.9", "", "sin nyc ams", "prefix rule 198.51.1.0/24 (steering.csv:1)", "198.51.1.0/24"},
		{"its POP down: the next most trusted source", "198.51.1.9", "sin", "sin nyc ams", "prefix rule 198.51.1.0/24 (steering.csv:1), next: sin is down", "198.51.1.0/24"},
		{"a rule that names nobody of this host", "198.51.2.9", "", "nyc sin ams", "ASN rule AS64501 (steering.csv:3)", "198.51.2.0/23"},
		{"an ASN rule beats measurements", "198.51.9.9", "", "nyc sin ams", "ASN rule AS64501 (steering.csv:3)", "198.51.8.0/21"},
		{"measurements beat distance", "198.52.3.9", "", "sin ams nyc", "measured 198.52.3.0/24 (steering.csv:5)", "198.52.3.0/24"},
		{"measured where nothing else is known", "198.53.0.1", "", "ams nyc sin", "measured 198.48.0.0/12 (steering.csv:4)", "198.53.0.0/16"},
	} {
		d := p.decide(netip.MustParseAddr(c.addr), 4, view(strings.Fields(c.down)...))
		if got := strings.Join(d.Order, " "); got != c.order || d.Reason != c.reason || d.Scope.String() != c.scope {
			t.Errorf("%s: got %s, %q, scope %v\nwant %s, %q, scope %s", c.rule, got, d.Reason, d.Scope, c.order, c.reason, c.scope)
		}
	}
}

// Candidates of one place split its clients by weight, whoever else there is; a rule may name one of them.
func TestWeightsWithinAPlace(t *testing.T) {
	skipPlanted(t)
	h := &site.Host{Name: "api", Steer: site.Geo, Targets: []*site.Target{
		{Name: "big", Regions: []string{"EU"}, Addresses: addrs("198.18.0.1"), Weight: 3},
		{Name: "small", Regions: []string{"EU"}, Addresses: addrs("198.18.0.2", "2001:db8::2"), Weight: 1},
		{Name: "usa", At: "NYC", Addresses: addrs("198.18.0.3"), Weight: 1},
	}}
	sources := database(t, []geodata.Row{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Country: "DE", Continent: "EU"}, {Prefix: netip.MustParsePrefix("11.0.0.0/8"), Country: "US", Continent: "NA"}})
	sources.Rules.Prefixes = []*geodata.Rule{{Prefix: netip.MustParsePrefix("10.255.0.0/16"), To: []string{"small"}}}
	c := NewCompiler(nil, sources, nil)
	p := scene{compileIn(t, c, h), c}
	count := map[string]int{}
	for i := range 20000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 7), byte(i << 1), 1})
		d := p.decide(a, 4, nil)
		if a.As4()[1] != 255 {
			count[d.Name]++
		}
		if d.Name == "usa" || d.Scope.Bits() != 24 && a.As4()[1] != 255 {
			t.Fatalf("%v: %s scope %v", a, d.Name, d.Scope)
		}
		if six := p.decide(a, 6, nil); six.Name != "small" { // the only one with an address, and A is as it was
			t.Fatalf("%v: AAAA from %s", a, six.Name)
		}
	}
	if share := float64(count["big"]) / float64(count["big"]+count["small"]); share < 0.73 || share > 0.77 {
		t.Errorf("big gets %.3f, want 0.75", share)
	}
	if d := p.decide(netip.MustParseAddr("10.255.3.4"), 4, nil); d.Name != "small" || d.Scope.Bits() != 16 {
		t.Errorf("named by a rule: %s scope %v, want small for all of 10.255.0.0/16", d.Name, d.Scope)
	}
	if d := p.decide(netip.MustParseAddr("11.1.1.1"), 4, nil); d.Name != "usa" || d.Scope.String() != "11.0.0.0/8" {
		t.Errorf("elsewhere: %s scope %v, want usa for 11.0.0.0/8", d.Name, d.Scope)
	}
	h.Nearest = 2
	both := scene{compileIn(t, c, h), c}
	if d := both.decide(netip.MustParseAddr("10.1.1.1"), 4, nil); len(d.Names) != 2 || slices.Contains(d.Names, "usa") {
		t.Errorf("two nearest: %v, want both of the place", d.Names)
	}
}

// A POP that bears a part of its load keeps that part of its clients, always the same ones, and the rest have the next.
func TestPartialLoad(t *testing.T) {
	skipPlanted(t)
	p := compile(t, &site.Host{Name: "www", Steer: site.Geo}, world(t))
	partial := func(share float64) *Health {
		v := view()
		v.POPs["ams"] = health.POPView{Weight: share, Services: map[health.Service]health.ServiceView{health.Web: {State: health.Degraded}}}
		return p.c.Health(v, nil)
	}
	half, quarter := partial(0.5), partial(0.25)
	const count = 20000
	kept := 0
	for i := range count { // unknown networks: ams is first in the file
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
		set, bits := p.Pick(a, 4, half)
		name := p.Name(set)
		if bits != 24 || name == "sin" {
			t.Fatalf("%v: %s scope /%d, want ams or nyc for its /24", a, name, bits)
		}
		if name == "ams" {
			kept++
		} else if less, _ := p.Pick(a, 4, quarter); p.Name(less) == "ams" {
			t.Fatalf("%v comes back when the POP bears less", a)
		}
	}
	if share := float64(kept) / count; math.Abs(share-0.5) > 0.02 {
		t.Errorf("ams keeps %.3f of its clients, want 0.5", share)
	}
	v := view("nyc", "sin")
	v.POPs["ams"] = health.POPView{Weight: 0.01, Services: map[health.Service]health.ServiceView{health.Web: {State: health.Degraded}}}
	h := p.c.Health(v, nil)
	for i := range 100 {
		if set, _ := p.Pick(netip.AddrFrom4([4]byte{10, 1, byte(i), 1}), 4, h); p.Name(set) != "ams" {
			t.Fatal("the only POP that is up turns clients away")
		}
	}
	other := world(t)
	other.POPs[0].Capacity = 0
	q := compile(t, &site.Host{Name: "www", Steer: site.Geo}, other)
	if st := q.c.Health(h.View(), nil); st.pops.partial.len() != 0 {
		t.Error("a POP of unknown capacity sheds load")
	}
}

// What cannot be answered is the same for everybody: a family that no candidate has.
func TestNoAddressOfTheFamily(t *testing.T) {
	p := compile(t, &site.Host{Name: "api", Steer: site.Geo, Targets: []*site.Target{{Name: "x", At: "FRA", Addresses: addrs("198.18.0.1"), Weight: 1}}}, nil)
	if d := p.decide(at(t, "NYC"), 6, nil); d.Set != 0 || d.Scope.Bits() != 0 || d.Reason != "no candidate has such an address" {
		t.Errorf("got %+v", d)
	}
}

// An address of a target that is down is left out, the target with it when it was the last; a name as a whole.
func TestHealthOfTargets(t *testing.T) {
	skipPlanted(t)
	h := &site.Host{Name: "api.x", Steer: site.Pinned, Targets: []*site.Target{
		{Name: "a", Addresses: addrs("198.18.0.1", "198.18.0.2", "2001:db8::1"), Weight: 1, Probe: "http://{address}/"},
		{Name: "b", CNAME: "b.example", Weight: 1, Probe: "http://b.example/"},
		{Name: "c", Addresses: addrs("198.18.0.9"), Weight: 1}, // not probed
	}}
	p := compile(t, h, nil)
	for _, c := range []struct {
		down   string
		family int
		want   string
	}{
		{"", 4, "a [198.18.0.1 198.18.0.2]"},
		{"api.x/a/198.18.0.1", 4, "a [198.18.0.2]"},
		{"api.x/a/198.18.0.1 api.x/a/198.18.0.2", 4, "b b.example."},
		{"api.x/a/198.18.0.1 api.x/a/198.18.0.2", 6, "a [2001:db8::1]"},
		{"api.x/a/198.18.0.1 api.x/a/198.18.0.2 api.x/b", 4, "c [198.18.0.9]"},
		{"api.x/c/198.18.0.9", 4, "a [198.18.0.1 198.18.0.2]"},
		{"other/a/198.18.0.1", 4, "a [198.18.0.1 198.18.0.2]"},
	} {
		v := view()
		v.Targets = map[string]health.Cause{}
		for id := range strings.FieldsSeq(c.down) {
			v.Targets[id] = health.Cause{Text: "refused"}
		}
		d := p.decide(at(t, "BER"), c.family, v)
		if got := strings.TrimSpace(d.Name + " " + strings.TrimPrefix(fmt.Sprint(d.Addrs), "[]") + d.CNAME); got != c.want {
			t.Errorf("down %q: got %s, want %s", c.down, got, c.want)
		}
	}
	h.Targets = h.Targets[:1]
	h.Closed = true
	all := view()
	all.Targets = map[string]health.Cause{"api.x/a/198.18.0.1": {}, "api.x/a/198.18.0.2": {}}
	closed := compile(t, h, nil)
	if d := closed.decide(at(t, "BER"), 4, all); d.Set != 0 || d.Reason != "all are down, and the host says fail: closed" {
		t.Errorf("closed: %+v", d)
	}
	h.Closed = false
	open := compile(t, h, nil)
	if d := open.decide(at(t, "BER"), 4, all); len(d.Addrs) != 2 || d.Reason != "pinned, though all are down" {
		t.Errorf("open: %+v", d)
	}
}

// A Health is the same pointer while no answer changes, so that what hangs on it is kept.
func TestHealthStaysTheSame(t *testing.T) {
	skipPlanted(t)
	p := compile(t, &site.Host{Name: "www", Steer: site.Geo}, world(t))
	first := p.c.Health(view("nyc"), nil)
	later := view("nyc")
	later.Seq, later.Nodes["ams1"] = 9, health.NodeView{Claims: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	if p.c.Health(later, first) != first {
		t.Error("claims alone make another Health")
	}
	if p.c.Health(view("nyc", "sin"), first) == first || p.c.Health(view("nyc", "ams2"), first) == first {
		t.Error("a POP or node that goes down makes no other Health")
	}
}

// Whatever the host, the fleet's health and the client: Pick is what a plain reading of the rules gives, everybody in its
// scope gets the same, and the order that explains it says so too.
func TestPickIsThePlainDecision(t *testing.T) {
	skipPlanted(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt)
		h := s.c.Health(s.view, nil)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 2))
		for range 20 {
			client := netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(4)), byte(r.IntN(256))})
			for _, family := range []int{4, 6} {
				set, bits := s.p.Pick(client, family, h)
				if want := s.plain(client, family); set != want {
					rt.Fatalf("%v family %d: picked %v, want %v (host %+v)", client, family, names(s.p, set), names(s.p, want), s.p.host)
				}
				n := client.As4()
				for i := int(bits); i < 32; i++ {
					n[i/8] ^= byte(r.IntN(2)) << (7 - i%8)
				}
				if other, _ := s.p.Pick(netip.AddrFrom4(n), family, h); other != set {
					rt.Fatalf("%v and %v share /%d but get %v and %v", client, netip.AddrFrom4(n), bits, names(s.p, set), names(s.p, other))
				}
				if d := s.p.Decide(client, family, h); d.Set != set || d.Scope.Bits() != int(bits) {
					rt.Fatalf("Decide says %v /%d, Pick %v /%d", d.Names, d.Scope.Bits(), names(s.p, set), bits)
				}
			}
		}
	})
}

func names(p *Policy, s SetID) (out []string) {
	for n := range MaxNearest {
		if i, ok := s.at(n); ok {
			out = append(out, p.list[i].name)
		}
	}
	return out
}

// drawn is a host with its fleet in some state.
type drawn struct {
	p       *Policy
	c       *Compiler
	sources *geodata.Sources
	view    *health.View
}

func drawScene(rt *rapid.T) drawn {
	cities := []string{"AMS", "NYC", "SIN", "FRA", "SYD", "SAO", "NYC"} // two at one place
	top := &topology.Topology{Name: "test"}
	for i, code := range cities[:rapid.IntRange(1, len(cities)).Draw(rt, "pops")] {
		place, _ := topology.City(code)
		p := &topology.POP{Name: fmt.Sprintf("p%d", i), Index: i, At: place, Capacity: float64(rapid.IntRange(1, 4).Draw(rt, "capacity"))}
		n := &topology.Node{Name: p.Name + "n", POP: p, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})}}
		if rapid.Bool().Draw(rt, "v6") {
			n.Addrs = append(n.Addrs, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}))
		}
		p.Nodes = []*topology.Node{n}
		top.POPs = append(top.POPs, p)
	}
	h := &site.Host{
		Name: "h", Steer: rapid.SampledFrom([]site.Steer{site.Geo, site.Geo, site.Weighted, site.Pinned}).Draw(rt, "steer"),
		Nearest: rapid.IntRange(1, 3).Draw(rt, "nearest"), Closed: rapid.Bool().Draw(rt, "closed"),
	}
	if n := len(top.POPs); n > 1 && rapid.Bool().Draw(rt, "fallback") {
		h.Fallback = []string{top.POPs[rapid.IntRange(0, n-1).Draw(rt, "who")].Name}
	}
	var rows []geodata.Row
	seen := map[netip.Prefix]bool{}
	for range rapid.IntRange(0, 12).Draw(rt, "rows") {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(rt, "b") % 4, rapid.Byte().Draw(rt, "c") % 4, rapid.Byte().Draw(rt, "d")}), rapid.IntRange(8, 32).Draw(rt, "bits")).Masked()
		if place, _ := topology.City(rapid.SampledFrom([]string{"BER", "TYO", "BOS", "MEL"}).Draw(rt, "at")); !seen[p] {
			seen[p] = true
			rows = append(rows, geodata.Row{Prefix: p, Country: place.Country, Continent: place.Continent, Lat: place.Lat, Lon: place.Lon})
		}
	}
	sources := database(rt, rows)
	for range rapid.IntRange(0, 3).Draw(rt, "rules") {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(rt, "b") % 4, rapid.Byte().Draw(rt, "c") % 4, 0}), rapid.IntRange(12, 24).Draw(rt, "bits")).Masked()
		sources.Rules.Prefixes = append(sources.Rules.Prefixes, &geodata.Rule{Prefix: p, To: []string{fmt.Sprintf("p%d", rapid.IntRange(0, 6).Draw(rt, "to"))}})
	}
	v := &health.View{POPs: map[string]health.POPView{}}
	for _, p := range top.POPs {
		state := rapid.SampledFrom([]health.State{health.Up, health.Up, health.Down, health.Degraded, health.Draining}).Draw(rt, "state")
		pv := health.POPView{Weight: 1, Services: map[health.Service]health.ServiceView{health.Web: {State: state}}}
		if state == health.Degraded {
			pv.Weight = rapid.SampledFrom([]float64{0.1, 0.5, 0.9}).Draw(rt, "weight")
		}
		v.POPs[p.Name] = pv
	}
	c := NewCompiler(top, sources, nil)
	p, err := c.Compile(h)
	if err != nil {
		rt.Fatal(err)
	}
	return drawn{p, c, sources, v}
}

// plain decides as a reader of the documentation would: it orders the places by what is known of the client, looks at one
// candidate after the other, and knows neither tables nor bits.
func (s *drawn) plain(client netip.Addr, family int) SetID {
	up := func(i uint16) bool { return s.view.Usable(s.p.list[i].name, health.Web) }
	share := func(i uint16) uint16 { return popShare(s.c.topo.POPs[i], s.view) }
	can := func(i uint16) bool { return len(s.p.list[i].addrs[index(family)]) > 0 && s.p.list[i].weight > 0 }
	net := networkOf(client)
	// chosen takes of those that ok allows, where share may let networks pass if shed is set.
	chosen := func(ok func(uint16) bool, shed bool) (out []uint16) {
		part := func(i uint16) uint16 {
			if !shed {
				return whole
			}
			return share(i)
		}
		lowest := func(from []uint16, scaled bool) []uint16 {
			from = slices.DeleteFunc(slices.Clone(from), func(i uint16) bool { return !can(i) || !ok(i) })
			slices.SortStableFunc(from, func(a, b uint16) int {
				wa, wb := uint16(whole), uint16(whole)
				if scaled {
					wa, wb = part(a), part(b)
				}
				if s.p.list[a].score(net, s.p.salt, wa) < s.p.list[b].score(net, s.p.salt, wb) {
					return -1
				}
				return 1
			})
			return from
		}
		switch s.p.host.Steer {
		case site.Weighted:
			if all := lowest(s.p.order, true); len(all) > 0 {
				out = all[:1]
			}
		case site.Geo:
			facts := s.sources.Facts(client)
			for _, spot := range s.p.geography.order(&facts) {
				for _, i := range lowest(s.p.members[spot], false) {
					if len(out) < s.p.wants && !slices.Contains(out, i) && s.p.list[i].accepts(net, part(i)) {
						out = append(out, i)
					}
				}
			}
		default:
			for _, i := range s.p.order {
				if can(i) && ok(i) && out == nil {
					out = []uint16{i}
				}
			}
		}
		return out
	}
	fallback := func(ok func(uint16) bool) (out []uint16) {
		for _, i := range s.p.fallback {
			if can(i) && ok(i) && out == nil {
				out = []uint16{i}
			}
		}
		return out
	}
	any := func(uint16) bool { return true }
	steps := []func() []uint16{
		func() []uint16 { return chosen(up, true) },
		func() []uint16 { return chosen(up, false) },
		func() []uint16 { return fallback(up) },
		func() []uint16 { return chosen(any, false) },
		func() []uint16 { return fallback(any) },
	}
	if s.p.host.Closed {
		steps = steps[:3]
	}
	for _, step := range steps {
		if list := step(); len(list) > 0 {
			var set SetID
			for n, i := range list {
				set = set.with(n, i)
			}
			return set
		}
	}
	return 0
}

func TestPickDoesNotAllocate(t *testing.T) {
	s := benchScene(t)
	for _, name := range []string{"geo", "weighted", "pinned", "anycast", "nearest 3"} {
		p := s.policies[name]
		if n := testing.AllocsPerRun(100, func() { p.Pick(s.addrs[7], 4, s.health) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

type bench struct {
	policies map[string]*Policy
	health   *Health
	addrs    []netip.Addr
}

// benchScene is 30 POPs, one of which is down, and 50,000 networks of a synthetic Internet.
func benchScene(tb testing.TB) bench {
	tb.Helper()
	top := &topology.Topology{Name: "test", Anycast: topology.Anycast{Web: addrs("192.0.2.80")}}
	for i, code := range strings.Fields("AMS NYC SIN FRA LHR CDG MAD MIL WAW STO LIS IAD ORD DFW LAX SEA MIA YYZ SAO BUE JNB LOS BOM DEL TYO SEL HKG SYD AKL DXB") {
		place, ok := topology.City(code)
		if !ok {
			tb.Fatalf("no city %q", code)
		}
		p := &topology.POP{Name: strings.ToLower(code), Index: i, At: place, Capacity: 1000}
		p.Nodes = []*topology.Node{{Name: p.Name + "1", POP: p, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})}}}
		top.POPs = append(top.POPs, p)
	}
	r := rand.New(rand.NewPCG(7, 7))
	codes := strings.Fields("DE US BR JP AU IN ZA FR GB PL NL ES IT CA MX AR CL SG CN KR TH VN EG NG KE SA TR RU UA SE")
	var rows []geodata.Row
	seen := map[netip.Prefix]bool{}
	for range 50000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + r.IntN(223)), byte(r.IntN(256)), byte(r.IntN(256)), 0}), 10+r.IntN(15)).Masked()
		if place, _ := topology.CountryPlace(codes[r.IntN(len(codes))]); !seen[p] {
			seen[p] = true
			rows = append(rows, geodata.Row{Prefix: p, Country: place.Country, Continent: place.Continent, Lat: place.Lat, Lon: place.Lon})
		}
	}
	c := NewCompiler(top, database(tb, rows), nil)
	s := bench{policies: map[string]*Policy{}}
	for name, h := range map[string]*site.Host{
		"geo": {Steer: site.Geo}, "weighted": {Steer: site.Weighted}, "pinned": {Steer: site.Pinned}, "anycast": {Steer: site.Anycast}, "nearest 3": {Steer: site.Geo, Nearest: 3},
	} {
		h.Name = name
		s.policies[name] = compileIn(tb, c, h)
	}
	s.health = c.Health(view("nyc"), nil)
	for range 1 << 16 {
		s.addrs = append(s.addrs, netip.AddrFrom4([4]byte{byte(1 + r.IntN(223)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))}))
	}
	return s
}

func BenchmarkPick(b *testing.B) {
	s := benchScene(b)
	for _, name := range []string{"geo", "nearest 3", "weighted", "pinned", "anycast"} {
		p := s.policies[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p.Pick(s.addrs[i&(1<<16-1)], 4, s.health)
				i++
			}
		})
	}
	b.Run("table alone", func(b *testing.B) {
		b.ReportAllocs()
		t, i := s.policies["geo"].table, 0
		for b.Loop() {
			t.Lookup(s.addrs[i&(1<<16-1)])
			i++
		}
	})
}
