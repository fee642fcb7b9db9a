package bgpd

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/catchment-net/catchment/bgpd/announce"
	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/testns"
)

// fakeLo notes what is asked of it, and refuses one address.
type fakeLo struct {
	said   []string
	refuse netip.Addr
}

func (f *fakeLo) Add(a netip.Addr) error {
	if a == f.refuse {
		return errors.New("no rights")
	}
	f.said = append(f.said, "+"+a.String())
	return nil
}

func (f *fakeLo) Remove(a netip.Addr) error {
	f.said = append(f.said, "-"+a.String())
	return nil
}

func (f *fakeLo) Close() { f.said = append(f.said, "close") }

func (f *fakeLo) take() string {
	slices.Sort(f.said)
	text := strings.Join(f.said, " ")
	f.said = nil
	return text
}

func TestVIPs(t *testing.T) {
	topo := network()
	topo.Drain.Quiet = time.Second
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lo := &fakeLo{}
	v := &vips{lo: lo, idle: map[netip.Addr]time.Time{}}
	wants := func(state announce.State) announce.Output {
		out := announce.Output{Wants: []announce.Want{{Prefix: netip.MustParsePrefix("203.0.113.0/28"), State: announce.Announced}}}
		for _, p := range topo.Anycast.Prefixes {
			out.Wants = append(out.Wants, announce.Want{Prefix: p, State: state, Anycast: true})
		}
		return out
	}
	const all = "+192.0.2.53 +192.0.2.80 +2001:db8:53::53 +2001:db8:53::80"
	none := strings.ReplaceAll(all, "+", "-")
	for _, step := range []struct {
		name            string
		at, lastRequest time.Duration
		state           announce.State
		before, after   string // done to lo before and after the routes are set
		next            time.Duration
	}{
		{"not yet good", 0, 0, announce.Withdrawn, "", "", 0},
		{"first route", time.Second, 0, announce.Announced, all, "", 0},
		{"the same", 2 * time.Second, 0, announce.Announced, "", "", 0},
		{"GSHUT is a route, too", 3 * time.Second, 0, announce.GSHUT, "", "", 0},
		{"withdrawn", 4 * time.Second, 0, announce.Withdrawn, "", "", 5 * time.Second},
		{"somebody still asks", 4800 * time.Millisecond, 4700 * time.Millisecond, announce.Withdrawn, "", "", 5700 * time.Millisecond},
		{"almost silent for long enough", 5699 * time.Millisecond, 4700 * time.Millisecond, announce.Withdrawn, "", "", 5700 * time.Millisecond},
		{"silent", 5700 * time.Millisecond, 4700 * time.Millisecond, announce.Withdrawn, "", none, 0},
		{"gone", time.Minute, 0, announce.Withdrawn, "", "", 0},
		{"back", 2 * time.Minute, 0, announce.Announced, all, "", 0},
		{"withdrawn once more", 3 * time.Minute, 0, announce.Withdrawn, "", "", 3*time.Minute + time.Second},
		{"and back before they are gone", 3*time.Minute + 500*time.Millisecond, 0, announce.Announced, "", "", 0},
		{"the count begins anew", 4 * time.Minute, 0, announce.Withdrawn, "", "", 4*time.Minute + time.Second},
	} {
		out := wants(step.state)
		err := v.prepare(topo, out)
		before := lo.take()
		next, clearErr := v.clear(topo, out, start.Add(step.at), start.Add(step.lastRequest))
		if err := errors.Join(err, clearErr); err != nil {
			t.Error(err)
		}
		if after := lo.take(); before != step.before || after != step.after {
			t.Errorf("%s: %q, then %q; want %q, then %q", step.name, before, after, step.before, step.after)
		}
		if step.next == 0 && !next.IsZero() || step.next != 0 && !next.Equal(start.Add(step.next)) {
			t.Errorf("%s: next look at %v, want start+%v", step.name, next, step.next)
		}
	}
	if err := v.end(); err != nil || lo.take() != none+" close" {
		t.Errorf("end: %v", err)
	}

	// Where an address cannot be, its prefix is not announced; the others are.
	lo.refuse = netip.MustParseAddr("2001:db8:53::80")
	v = &vips{lo: lo, idle: map[netip.Addr]time.Time{}}
	out := wants(announce.Announced)
	if err := v.prepare(topo, out); err == nil {
		t.Error("a failure is not told")
	}
	var states []string
	for _, w := range out.Wants {
		states = append(states, string(w.State))
	}
	if got := strings.Join(states, " "); got != "announced announced withdrawn" || !strings.Contains(out.Wants[2].Reason, "no rights") {
		t.Errorf("states %q, reason %q", got, out.Wants[2].Reason)
	}
}

// On a real lo: whoever hears of a route finds the address there, and whoever comes while the withdrawal is on its way
// does, too.
func TestVIPsOnTheLoopback(t *testing.T) {
	if !testns.Inside(t) {
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	here, there := netip.MustParseAddr("127.66.4.1"), netip.MustParseAddr("127.66.4.2")
	p := newPeer(t, here, there, 64500, "")
	var mu sync.Mutex // guards the following
	var seen []string // "+ there" or "- gone", for each change of the IPv4 prefix at the peer
	p.also = func(b speaker.Best) {
		if b.Prefix.String() != four {
			return
		}
		sign, there := "+", "gone"
		if b.Withdrawn {
			sign = "-"
		}
		if hasAddress(t, "192.0.2.53") && hasAddress(t, "192.0.2.80") {
			there = "there"
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, sign+" "+there)
	}
	topo := network()
	topo.Drain.Quiet = 300 * time.Millisecond
	s, stop := together(t, p, Options{
		Node: "ams1", VIPs: true,
		Neighbors: []speaker.Neighbor{{Name: "arc", Address: here, Port: p.speaker.Addrs()[0].Port(), ASN: 64496, Local: there}},
	}, topo)
	if hasAddress(t, "192.0.2.53") {
		t.Error("the address is there before any route")
	}
	s.SetView(fleet(topo, up))
	await(t, "everything", p.shows(everything...))
	s.SetView(fleet(topo, down(health.Hard)))
	await(t, "withdrawal", p.shows(unicast...))
	await(t, "the addresses to go", func() bool { return !hasAddress(t, "192.0.2.53") && !hasAddress(t, "2001:db8:53::80") })
	s.SetView(fleet(topo, up))
	await(t, "everything again", p.shows(everything...))
	stop()
	if hasAddress(t, "192.0.2.53") {
		t.Error("the address is left behind")
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(seen, ", "); !strings.HasPrefix(got, "+ there, - there, + there") {
		t.Errorf("at the peer: %s", got)
	}
}

func hasAddress(t *testing.T, want string) bool {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Error(err)
	}
	return slices.ContainsFunc(all, func(a net.Addr) bool { return netip.MustParsePrefix(a.String()).Addr().String() == want })
}
