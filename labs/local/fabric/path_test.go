package fabric

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/internal/event"
)

func TestPathFollowsTheRouters(t *testing.T) {
	f := newModel().fabric(t, Options{})
	for _, row := range []struct {
		name, from, to string
		hops           string
		delay          time.Duration
	}{
		{"a client's anycast", "berlin", anyWeb, "berlin arc ams1", 8 * time.Millisecond},
		{"over IPv6", "berlin", "2001:db8:53::80", "berlin arc ams1", 8 * time.Millisecond},
		{"a peer's anycast", "newyork", anyWeb, "newyork nyc1", time.Millisecond},
		{"a POP's unicast", "berlin", "203.0.113.17", "berlin arc nyc1", 45 * time.Millisecond},
		{"the second node of a POP", "berlin", "203.0.113.2", "berlin arc ams1 ams2", 8 * time.Millisecond},
		{"across two carriers", "tokyo", "203.0.113.129", "tokyo bolt arc origin.shop.example", 111 * time.Millisecond},
		{"a POP to the origin", "ams1", "203.0.113.129", "ams1 arc origin.shop.example", 3 * time.Millisecond},
		{"a POP with two carriers takes the fewest hops", "nyc1", "203.0.113.129", "nyc1 arc origin.shop.example", 40 * time.Millisecond},
		{"a POP to a POP", "ams1", "203.0.113.17", "ams1 arc nyc1", 43 * time.Millisecond},
		{"the other carrier is nearer", "nyc1", "203.0.113.33", "nyc1 bolt sin1", 109 * time.Millisecond},
		{"a POP to its peer", "nyc1", "198.51.100.65", "nyc1 newyork", time.Millisecond},
		{"a peer is no transit", "nyc1", "198.51.100.1", "nyc1 arc berlin", 45 * time.Millisecond},
		{"its own anycast address", "ams2", anyWeb, "ams2", 0},
		{"its neighbour in the POP", "ams1", "203.0.113.2", "ams1 ams2", 0},
		{"an origin's answer", "origin.shop.example", "203.0.113.1", "origin.shop.example arc ams1", 3 * time.Millisecond},
		{"an origin to itself", "origin.shop.example", "203.0.113.129", "origin.shop.example", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := f.Path(row.from, addr(row.to))
			if !p.Good() {
				t.Fatalf("no path: %+v", p)
			}
			if got := strings.Join(p.Hops, " "); got != row.hops || p.Delay != row.delay {
				t.Errorf("got %q in %v, want %q in %v", got, p.Delay, row.hops, row.delay)
			}
			if want := p.Hops[len(p.Hops)-1]; p.Dest != want {
				t.Errorf("it ends at %q, want %q", p.Dest, want)
			}
		})
	}
}

func TestPathSaysWhyThereIsNone(t *testing.T) {
	m := newModel()
	f := m.fabric(t, Options{})
	m.routers["berlin"].withdraw(any4)
	m.routers["tokyo"].set("bolt", "203.0.113.240/28")
	m.routers["bolt"].set("tokyo", "203.0.113.240/28")
	for _, row := range []struct{ name, from, to, why string }{
		{"withdrawn", "berlin", anyWeb, "berlin has no route to 192.0.2.80"},
		{"a loop", "tokyo", "203.0.113.241", "round in circles"},
		{"no such host in the POP", "berlin", "203.0.113.9", "ams has no node with the address"},
		{"a POP without a route", "sin1", "8.8.8.8", "sin1 has no neighbour"},
		{"no such place", "paris", anyWeb, `no node, network or server "paris"`},
	} {
		if p := f.Path(row.from, addr(row.to)); p.Good() || !strings.Contains(p.NoPath, row.why) {
			t.Errorf("%s: got %+v, want a reason with %q", row.name, p, row.why)
		}
	}
}

func TestLinksCutBlackholedAndHealed(t *testing.T) {
	ring := event.NewRing(event.Options{})
	f := newModel().fabric(t, Options{Events: ring})
	steps := []struct {
		do     func(string) error
		link   string
		hops   string // nyc1 to the origin
		broken bool
	}{
		{f.Blackhole, "nyc -> arc", "nyc1 arc origin.shop.example", true}, // nobody knows: the route stays
		{f.Cut, "arc nyc", "nyc1 bolt arc origin.shop.example", false},
		{f.Cut, "bolt--arc", "nyc1 bolt arc origin.shop.example", true},
		{f.HealLink, "nyc -> arc", "nyc1 arc origin.shop.example", false},
		{f.HealLink, "arc -- bolt", "nyc1 arc origin.shop.example", false},
	}
	for _, s := range steps {
		if err := s.do(s.link); err != nil {
			t.Fatal(err)
		}
		p := f.Path("nyc1", addr("203.0.113.129"))
		if got := strings.Join(p.Hops, " "); got != s.hops || (p.Broken != "") != s.broken {
			t.Errorf("after %q: got %q, broken %q; want %q, broken %v", s.link, got, p.Broken, s.hops, s.broken)
		}
	}
	events, _, _ := ring.After(0)
	var got []string
	for _, e := range events {
		got = append(got, string(e.Kind)+" "+e.Subject+" "+e.State)
	}
	want := []string{"fault nyc -> arc blackholed", "fault nyc -> arc cut", "fault arc -- bolt cut", "fault nyc -> arc up", "fault arc -- bolt up"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{
		"berlin -> bolt": `no link "berlin -> bolt"; want one of "arc -- bolt", "berlin -> arc", "nyc -> bolt"`,
		"nowhere":        `want one of "ams -> arc", "arc -- bolt"`,
	} {
		if err := f.Cut(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("cut %q: got %v, want an error with %q", name, err, want)
		}
	}
}

func TestNewRefusesWhatItCannotCarry(t *testing.T) {
	m := newModel()
	routers := map[string]Router{}
	for name, r := range m.routers {
		routers[name] = r
	}
	delete(routers, "tokyo")
	for _, row := range []struct {
		o    Options
		want string
	}{
		{Options{}, "without a topology"},
		{Options{Topology: m.topo, Routers: routers}, `network "tokyo" has no router`},
	} {
		if _, err := New(row.o); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("got %v, want an error with %q", err, row.want)
		}
	}
}
