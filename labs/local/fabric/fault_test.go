package fabric

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// What a fault on a POP or a node breaks, and what it leaves alone, for ordinary traffic and for gossip.
func TestPartitionAndMute(t *testing.T) {
	const web, gossip = topology.PortHTTP, topology.PortFleet
	type way struct {
		from, to string
		port     uint16
		broken   bool
	}
	for _, c := range []struct {
		what string
		do   func(*Fabric) error
		ways []way
	}{
		{"a partitioned POP keeps its own network", func(f *Fabric) error { return f.Partition("ams") }, []way{
			{"berlin", "203.0.113.1", web, true},
			{"berlin", anyWeb, web, true},
			{"ams1", "203.0.113.129", web, true},
			{"nyc1", "203.0.113.1", gossip, true},
			{"ams1", "203.0.113.2", web, false},
			{"ams1", anyWeb, web, false},
			{"tokyo", "203.0.113.17", web, false},
			{"berlin", "203.0.113.129", web, false},
		}},
		{"a partitioned node has nobody", func(f *Fabric) error { return f.Partition("ams1") }, []way{
			{"berlin", "203.0.113.1", web, true}, {"ams1", "203.0.113.2", web, true}, {"ams2", "203.0.113.1", web, true}, {"ams1", anyWeb, web, false},
		}},
		{"a mute POP loses gossip alone", func(f *Fabric) error { return f.Mute("ams") }, []way{
			{"nyc1", "203.0.113.1", gossip, true},
			{"ams1", "203.0.113.17", gossip, true},
			{"ams2", "203.0.113.17", topology.PortGossip, true},
			{"ams1", "203.0.113.2", gossip, false},
			{"nyc1", "203.0.113.33", gossip, false},
			{"berlin", "203.0.113.1", web, false},
			{"nyc1", "203.0.113.1", topology.PortInternal, false},
		}},
		{"a mute node loses that of its mates, too", func(f *Fabric) error { return f.Mute("ams1") }, []way{
			{"ams2", "203.0.113.1", gossip, true}, {"ams2", "203.0.113.17", gossip, false},
		}},
		{"two partitioned POPs do not meet either", func(f *Fabric) error {
			if err := f.Partition("nyc"); err != nil {
				return err
			}
			return f.Partition("sin")
		}, []way{{"nyc1", "203.0.113.33", web, true}, {"nyc1", "203.0.113.1", web, true}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := newModel().fabric(t, Options{})
			if err := c.do(f); err != nil {
				t.Fatal(err)
			}
			for _, w := range c.ways {
				p := f.carries(w.port, f.Path(w.from, netip.MustParseAddr(w.to)))
				if p.NoPath != "" || (p.Broken != "") != w.broken {
					t.Errorf("%s to %s port %d: got %+v, want broken %v", w.from, w.to, w.port, p, w.broken)
				}
			}
			for _, s := range []string{"ams", "ams1", "nyc", "sin"} {
				if err := f.HealSubject(s); err != nil {
					t.Fatal(err)
				}
			}
			for _, w := range c.ways {
				if p := f.carries(w.port, f.Path(w.from, netip.MustParseAddr(w.to))); !p.Good() {
					t.Errorf("healed, %s to %s: %+v", w.from, w.to, p)
				}
			}
		})
	}
}

func TestSlowAndLossyLinks(t *testing.T) {
	m := newModel()
	m.link("berlin -> arc").Loss = 0.5
	f := m.fabric(t, Options{})
	path := func() *Path { return f.Path("berlin", netip.MustParseAddr("203.0.113.1")) }
	for _, err := range []error{f.Slow("arc berlin", 100*time.Millisecond), f.Lossy("berlin -> arc", 0.5)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if p := path(); p.Delay != 108*time.Millisecond || p.Loss != 0.75 || !p.Good() {
		t.Errorf("got %+v, want 108 ms and three quarters lost", p)
	}
	if err := f.Cut("berlin -> arc"); err != nil {
		t.Fatal(err)
	}
	if p := path(); p.Good() {
		t.Error("a slow link cannot be cut on top")
	}
	if err := f.HealLink("berlin -> arc"); err != nil {
		t.Fatal(err)
	}
	if p := path(); p.Delay != 8*time.Millisecond || p.Loss != 0.5 || !p.Good() {
		t.Errorf("healed: %+v", p)
	}
}

func TestFaultsNeedSubjects(t *testing.T) {
	f := newModel().fabric(t, Options{})
	for _, err := range []error{f.Partition("berlin"), f.Mute("ams1/popd"), f.HealSubject("paris"), f.Slow("berlin -> paris", 0), f.Lossy("", 0)} {
		if err == nil || !strings.Contains(err.Error(), "no ") {
			t.Errorf("got %v", err)
		}
	}
}

// BGP across a partition is silent until the hold timer speaks, and comes back by itself once it is healed.
func TestPartitionStallsBGP(t *testing.T) {
	f, node, router := relayed(t, 300*time.Millisecond)
	next(t, node.calls, "the node is called")
	next(t, router.calls, "the router is called")
	if err := f.Partition("ams"); err != nil {
		t.Fatal(err)
	}
	if why := next(t, router.ended, "the router's session ends"); why != "hold timer" {
		t.Errorf("the router's session ended by %q, want its hold timer", why)
	}
	if err := f.HealSubject("ams"); err != nil {
		t.Fatal(err)
	}
	next(t, router.calls, "the router is called again")
}
