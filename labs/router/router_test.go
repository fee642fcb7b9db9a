package router

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/bgpd/speaker"
)

const limit = 30 * time.Second

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// world is a network of routers and POP speakers in the test's process, joined by links that dial both ends.
type world struct {
	t       *testing.T
	ends    map[string]netip.AddrPort
	addrs   map[string]netip.Addr
	asns    map[string]uint32
	want    map[string][]Neighbor
	routers map[string]*Router
	cancels map[string]func()

	mu      sync.Mutex // guards the following
	changes []Change
}

func newWorld(t *testing.T, block int, names ...string) *world {
	t.Helper()
	n := &world{
		t: t, ends: map[string]netip.AddrPort{}, addrs: map[string]netip.Addr{}, asns: map[string]uint32{}, want: map[string][]Neighbor{},
		routers: map[string]*Router{}, cancels: map[string]func(){},
	}
	for i, name := range names {
		n.addrs[name] = netip.AddrFrom4([4]byte{127, 67, byte(block), byte(i + 1)})
		n.asns[name] = 64500 + uint32(i)
	}
	return n
}

// link joins two; relation is what b is to a.
func (n *world) link(a, b string, relation Relation, prepend int) {
	back := map[Relation]Relation{Provider: Customer, Customer: Provider, Peer: Peer}[relation]
	n.want[a] = append(n.want[a], Neighbor{Name: b, ASN: n.asns[b], Addr: n.addrs[b], Relation: relation, Prepend: prepend})
	n.want[b] = append(n.want[b], Neighbor{Name: a, ASN: n.asns[a], Addr: n.addrs[a], Relation: back})
}

// router makes the router of a network with one prefix of each family.
func (n *world) router(name string, prefixes ...string) {
	n.t.Helper()
	o := Options{Name: name, ASN: n.asns[name], Addr: n.addrs[name], Neighbors: n.want[name], OnChange: n.changed}
	for _, p := range prefixes {
		o.Prefixes = append(o.Prefixes, netip.MustParsePrefix(p))
	}
	r, err := New(o)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := r.Listen(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	n.routers[name], n.ends[name] = r, r.Addr()
}

// pop makes a POP's speaker that announces the prefix of all POPs.
func (n *world) pop(name string, asn uint32, index uint32) *speaker.Speaker {
	n.t.Helper()
	o := speaker.Options{ASN: asn, RouterID: n.addrs[name], Listen: []netip.AddrPort{netip.AddrPortFrom(n.addrs[name], 0)}}
	for _, w := range n.want[name] {
		o.Neighbors = append(o.Neighbors, speaker.Neighbor{Name: w.Name, Address: w.Addr, ASN: w.ASN, Local: n.addrs[name], Passive: true, Prepend: w.Prepend})
	}
	s, err := speaker.New(o)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := s.Set(anycast(asn, index)); err != nil {
		n.t.Fatal(err)
	}
	if err := s.Listen(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	n.ends[name] = s.Addrs()[0]
	return s
}

func anycast(asn, index uint32, communities ...uint32) []speaker.Route {
	large := [][3]uint32{{asn, 1, index}}
	return []speaker.Route{
		{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: netip.MustParseAddr("203.0.113.1"), LargeCommunities: large, Communities: communities},
		{Prefix: netip.MustParsePrefix("2001:db8:53::/48"), NextHop: netip.MustParseAddr("2001:db8:a1::1"), LargeCommunities: large, Communities: communities},
	}
}

func (n *world) changed(c Change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes = append(n.changes, c)
}

// run runs one part until the test ends or the function that it returns is called.
func (n *world) run(name string, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(n.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := fn(ctx); err != nil {
			n.t.Error(err)
		}
	}()
	n.cancels[name] = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	n.t.Cleanup(n.cancels[name])
}

// connect joins every linked pair, and joins it again whenever the connection ends.
func (n *world) connect() {
	for a, all := range n.want {
		for _, w := range all {
			if a < w.Name {
				n.run(a+"-"+w.Name, func(ctx context.Context) error { return n.splice(ctx, n.ends[a], n.ends[w.Name]) })
			}
		}
	}
}

func (n *world) splice(ctx context.Context, a, b netip.AddrPort) error {
	for ctx.Err() == nil {
		dial := func(to netip.AddrPort, from netip.Addr) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: time.Second}
			return d.DialContext(ctx, "tcp", to.String())
		}
		if x, err := dial(a, b.Addr()); err == nil {
			if y, err := dial(b, a.Addr()); err == nil {
				var both sync.WaitGroup
				stop := context.AfterFunc(ctx, func() { x.Close(); y.Close() })
				for _, pair := range [][2]net.Conn{{x, y}, {y, x}} {
					both.Go(func() {
						_, _ = io.Copy(pair[0], pair[1])
						x.Close()
						y.Close()
					})
				}
				both.Wait()
				stop()
			} else {
				x.Close()
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(25 * time.Millisecond):
		}
	}
	return nil
}

// leads reports whether a router's way to both anycast addresses is by that neighbour.
func (n *world) leads(router, via string) func() bool {
	return func() bool {
		for _, a := range []string{"192.0.2.80", "2001:db8:53::80"} {
			got, _, ok := n.routers[router].Lookup(netip.MustParseAddr(a))
			if !ok || got != via {
				return false
			}
		}
		return true
	}
}

// The example of the documentation in small: two transits that peer, two POPs, clients at each, and one that peers
// with a POP.
func TestGaoRexford(t *testing.T) {
	n := newWorld(t, 1, "ams1", "nyc1", "arc", "bolt", "berlin", "tokyo", "newyork")
	n.asns["nyc1"] = n.asns["ams1"]
	n.link("ams1", "arc", Provider, 0)
	n.link("nyc1", "arc", Provider, 1)
	n.link("nyc1", "bolt", Provider, 1)
	n.link("arc", "bolt", Peer, 0)
	n.link("berlin", "arc", Provider, 0)
	n.link("tokyo", "bolt", Provider, 0)
	n.link("newyork", "arc", Provider, 0)
	n.link("newyork", "nyc1", Peer, 0)
	asn := n.asns["ams1"]
	ams, nyc := n.pop("ams1", asn, 0), n.pop("nyc1", asn, 1)
	n.router("arc")
	n.router("bolt")
	n.router("berlin", "198.51.100.0/27", "2001:db8:c1::/48")
	n.router("tokyo", "198.51.100.128/27")
	n.router("newyork", "198.51.100.64/27")
	n.run("ams1", ams.Run)
	n.run("nyc1", nyc.Run)
	for name, r := range n.routers {
		n.run(name, r.Run)
	}
	for _, r := range n.routers {
		<-r.Ready()
	}
	n.connect()

	await(t, "arc takes its customer without prepends", n.leads("arc", "ams1"))
	await(t, "bolt takes its customer, however long the path", n.leads("bolt", "nyc1"))
	await(t, "berlin", n.leads("berlin", "arc"))
	await(t, "newyork prefers its peer to its provider", n.leads("newyork", "nyc1"))
	await(t, "a customer's prefix at the peer's customer", func() bool {
		via, prefix, ok := n.routers["tokyo"].Lookup(netip.MustParseAddr("198.51.100.3"))
		return ok && via == "bolt" && prefix.String() == "198.51.100.0/27"
	})
	if via, _, ok := n.routers["berlin"].Lookup(netip.MustParseAddr("2001:db8:c1::7")); !ok || via != "" {
		t.Errorf("berlin's own prefix leads to %q, %v", via, ok)
	}
	// Valley-free: bolt and its customers hear of newyork's peer no route, and arc none by newyork.
	rib, err := n.routers["arc"].RIB(netip.MustParsePrefix("192.0.2.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	var from []string
	for _, p := range rib {
		from = append(from, p.Neighbor)
		for _, c := range p.LargeCommunities {
			if c[1] == 0 && c[0] != n.asns["arc"] {
				t.Errorf("the mark %v of another network is on a path of arc's", c)
			}
		}
	}
	slices.Sort(from)
	if diff := cmp.Diff([]string{"ams1", "bolt", "nyc1"}, from); diff != "" {
		t.Errorf("who offers arc a path (-want +got):\n%s", diff)
	}

	// A drain: GSHUT moves everybody who has another path, and nobody is without one.
	if err := ams.Set(anycast(asn, 0, speaker.GracefulShutdown)); err != nil {
		t.Fatal(err)
	}
	await(t, "arc moves by GSHUT", n.leads("arc", "nyc1"))
	n.mu.Lock()
	for _, c := range n.changes {
		if c.Router == "berlin" && c.Withdrawn {
			t.Errorf("berlin was without a path: %+v", c)
		}
	}
	n.mu.Unlock()
	if err := ams.Set(anycast(asn, 0)); err != nil {
		t.Fatal(err)
	}
	await(t, "arc moves back", n.leads("arc", "ams1"))

	// A death: the next POP takes over; the changes name the POP by its index.
	n.cancels["ams1"]()
	await(t, "arc after ams1's end", n.leads("arc", "nyc1"))
	await(t, "berlin is told of POP 1", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		last := Change{POPIndex: -2}
		for _, c := range n.changes {
			if c.Router == "berlin" && c.Prefix.String() == "192.0.2.0/24" {
				last = c
			}
		}
		return last.POPIndex == 1 && last.Via == "arc" && fmt.Sprint(last.ASPath) == fmt.Sprint([]uint32{n.asns["arc"], asn, asn})
	})
	for _, s := range n.routers["bolt"].Sessions() {
		if s.State != speaker.Established {
			t.Errorf("session of bolt with %s is %s", s.Neighbor, s.State)
		}
	}
}
