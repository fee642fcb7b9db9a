package speaker

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"pgregory.net/rapid"
)

// Whatever is withdrawn, the messages are as long as RFC 4271 allows at most, no more of them than needed, readable for
// gobgp and for a reader of our own, and together withdraw exactly that.
func TestWithdrawals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		four, six := rapid.Bool().Draw(t, "four"), rapid.Bool().Draw(t, "six")
		gone := randomPrefixes(rapid.IntRange(0, 3000).Draw(t, "n"), rapid.Uint64().Draw(t, "seed"))
		b := withdrawals(gone, four, six)
		got := map[netip.Prefix]bool{}
		messages, octets := 0, 0
		for r := bytes.NewReader(b); r.Len() > 0; messages++ {
			left := r.Len()
			kind, body, err := readRaw(r)
			if err != nil || kind != msgUpdate || len(body)+headerSize > messageMax {
				t.Fatalf("message %d: kind %d, %d octets, %v", messages, kind, len(body)+headerSize, err)
			}
			if _, err := bgp.ParseBGPMessage(b[len(b)-left:][:headerSize+len(body)]); err != nil {
				t.Fatal(err)
			}
			u, err := parseUpdate(body)
			if err != nil || len(u.announced) > 0 {
				t.Fatalf("%v, announced %v", err, u.announced)
			}
			for _, p := range u.withdrawn {
				got[p] = true
			}
			octets += len(body)
		}
		want := map[netip.Prefix]bool{}
		for _, p := range gone {
			if p.Addr().Is4() && four || !p.Addr().Is4() && six {
				want[p] = true
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("withdrew %v, want %v", got, want)
		}
		const families, emptyEnd = 2, 64
		if messages > octets/(messageMax-emptyEnd)+families {
			t.Errorf("%d messages for %d octets", messages, octets)
		}
	})
}

// randomPrefixes are different ones of any length and of both families.
func randomPrefixes(n int, seed uint64) []netip.Prefix {
	r := rand.New(rand.NewPCG(seed, 0))
	all := map[netip.Prefix]bool{}
	for len(all) < n {
		var raw [16]byte
		binary.BigEndian.PutUint64(raw[:], r.Uint64()|1<<63) // never an IPv4 address in disguise
		binary.BigEndian.PutUint64(raw[8:], r.Uint64())
		addr := netip.AddrFrom16(raw)
		if r.IntN(2) == 0 {
			addr = netip.AddrFrom4([4]byte(raw[:4]))
		}
		all[netip.PrefixFrom(addr, r.IntN(addr.BitLen()+1)).Masked()] = true
	}
	return slices.Collect(maps.Keys(all))
}

// A thousand prefixes of both families are withdrawn by a handful of UPDATEs. What gobgp says afterwards changes nothing, and
// what is announced next stays.
func TestManyWithdrawalsAreFewUpdates(t *testing.T) {
	s, p := rawSession(t, Options{})
	routes := manyRoutes(1000, true, true)
	announceAll(t, s, p, routes)
	if err := s.Set(nil); err != nil {
		t.Fatal(err)
	}
	await(t, "all withdrawals", func() bool { _, _, ok := p.without(routes); return ok })
	if _, updates, _ := p.without(routes); updates > 4 {
		t.Errorf("%d UPDATEs until all were withdrawn, want one or two for each family", updates)
	}
	p.forget()
	if err := s.Set(routes[:40]); err != nil {
		t.Fatal(err)
	}
	await(t, "forty routes again", func() bool { _, n, _, _ := p.count(); return n == 40 })
	have, _ := p.routes()
	want := map[netip.Prefix]bool{}
	for _, r := range routes[:40] {
		want[r.Prefix] = true
	}
	if len(have) != len(want) || slices.ContainsFunc(slices.Collect(maps.Keys(have)), func(p netip.Prefix) bool { return !want[p] }) {
		t.Errorf("the neighbour has %d routes, want the 40", len(have))
	}
}

// announceAll announces routes and waits until the neighbour has acknowledged all of them.
func announceAll(t *testing.T, s *Speaker, p *rawPeer, routes []Route) {
	t.Helper()
	if err := s.Set(routes); err != nil {
		t.Fatal(err)
	}
	await(t, "all routes", func() bool { _, n, _, _ := p.count(); return n == len(routes) })
	await(t, "an idle connection", func() bool { return acknowledged(s) })
	p.forget()
}

// A neighbour that has said it takes IPv4 alone is never sent an attribute of IPv6: some would end the session.
func TestManyWithdrawalsGoToFamiliesThatAreTaken(t *testing.T) {
	s, p := rawSession(t, Options{}, func(p *rawPeer) { p.four = true })
	routes := manyRoutes(200, true, false)
	announceAll(t, s, p, routes)
	if err := s.Set(manyRoutes(200, false, true)); err != nil { // which it is not told
		t.Fatal(err)
	}
	if err := s.Set(nil); err != nil {
		t.Fatal(err)
	}
	await(t, "all withdrawals, twice", func() bool { n, _, _, _ := p.count(); return n == 2*len(routes) })
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.updates {
		if len(u.attrs) > 0 {
			t.Fatalf("attributes %v to a neighbour of IPv4 alone", slices.Collect(maps.Keys(u.attrs)))
		}
	}
}

// A speaker that passes routes on leaves all to gobgp: the prefix may have another path.
func TestRoutersWithdrawOneByOne(t *testing.T) {
	s, p := rawSession(t, Options{Neighbors: []Neighbor{{Relation: Customer}}})
	routes := manyRoutes(100, true, true)
	announceAll(t, s, p, routes)
	if err := s.Set(nil); err != nil {
		t.Fatal(err)
	}
	await(t, "all withdrawals", func() bool { _, _, ok := p.without(routes); return ok })
	if n, _, updates, _ := p.count(); n != len(routes) || updates != len(routes) {
		t.Errorf("%d withdrawals in %d UPDATEs, want %d in as many", n, updates, len(routes))
	}
}
