package speaker

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// send writes an UPDATE that announces IPv4 prefixes with a path over the peer's own AS.
func (p *rawPeer) send(t *testing.T, prefixes ...netip.Prefix) {
	t.Helper()
	attrs := []byte{0x40, 1, 1, 0, 0x40, 2, 6, 2, 1}
	attrs = append(binary.BigEndian.AppendUint32(attrs, p.asn), 0x40, 3, 4, 198, 18, 0, 1)
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
	body = append(body, attrs...)
	for _, prefix := range prefixes {
		body = append(body, encodePrefix(prefix)...)
	}
	p.write(t, rawMessage(msgUpdate, body))
}

func (p *rawPeer) write(t *testing.T, message []byte) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.conn.Write(message); err != nil {
		t.Fatal(err)
	}
}

func (p *rawPeer) notification() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.notified
}

// What a neighbour is to hear besides a route's own attributes is on the wire, and a change of it sends the routes again
// over the same session.
func TestPolicyOfANeighbor(t *testing.T) {
	const noExport = 0xffffff01
	s, p := rawSession(t, Options{Neighbors: []Neighbor{{
		Prepend: 2, MED: 70, Communities: []uint32{64496<<16 | 70, noExport}, LargeCommunities: [][3]uint32{{64496, 1, 70}},
	}}})
	route := Route{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: addrB, Communities: []uint32{GracefulShutdown}, LargeCommunities: [][3]uint32{{64500, 1, 2}}}
	if err := s.Set([]Route{route}); err != nil {
		t.Fatal(err)
	}
	words := func(all ...uint32) (b []byte) {
		for _, w := range all {
			b = binary.BigEndian.AppendUint32(b, w)
		}
		return b
	}
	has := func(attr byte, want []byte) func() bool {
		return func() bool {
			have, _ := p.routes()
			return bytes.Equal(have[route.Prefix].attrs[attr], want)
		}
	}
	const asPath, med, communities, large = 2, 4, 8, 32
	await(t, "two prepends", has(asPath, append([]byte{2, 3}, words(64500, 64500, 64500)...)))
	await(t, "MED", has(med, words(70)))
	await(t, "communities", has(communities, words(GracefulShutdown, 64496<<16|70, noExport)))
	await(t, "large communities", has(large, words(64500, 1, 2, 64496, 1, 70)))

	n := s.neighbors[0]
	n.Prepend, n.MED, n.Communities, n.LargeCommunities = 0, 0, nil, nil
	if err := s.SetNeighbors([]Neighbor{n}); err != nil {
		t.Fatal(err)
	}
	await(t, "no prepend", has(asPath, append([]byte{2, 1}, words(64500)...)))
	await(t, "no MED", has(med, nil))
	await(t, "the route's own communities", has(communities, words(GracefulShutdown)))
	if got := s.Neighbors()[0].Downs; got != 0 {
		t.Errorf("the session ended %d times", got)
	}
}

// A neighbour that sends more than it may is told so, stays down for a pause with the reason in its status, and is tried
// again.
func TestMaxPrefixes(t *testing.T) {
	s, p := rawSession(t, Options{floodFirst: 300 * time.Millisecond, Neighbors: []Neighbor{{MaxPrefixes: 3}}})
	var sent []netip.Prefix
	for _, r := range manyRoutes(3, true, false) {
		sent = append(sent, r.Prefix)
	}
	p.send(t, sent...)
	p.send(t, sent...) // the same three again are no more
	if err := s.Set(manyRoutes(1, true, false)); err != nil {
		t.Fatal(err)
	}
	await(t, "our route", func() bool { _, n, _, _ := p.count(); return n == 1 })
	if p.notification() != nil {
		t.Fatal("three prefixes of three ended the session")
	}
	p.send(t, manyRoutes(5, true, false)[4].Prefix)
	const cease, maximumReached = 6, 1
	await(t, "Cease, Maximum Number of Prefixes Reached", func() bool { return bytes.HasPrefix(p.notification(), []byte{cease, maximumReached}) })
	await(t, "the reason in the status", func() bool {
		n := s.Neighbors()[0]
		return strings.Contains(n.Error, "more prefixes than it may") && strings.Contains(n.Cause, "maximum number of prefixes reached")
	})
	took := await(t, "the next attempt", func() bool { return s.established() == 1 })
	if took < 150*time.Millisecond {
		t.Errorf("tried again after %v, want half the pause at least", took)
	}
	if got := s.Neighbors()[0].Error; got != "" {
		t.Errorf("still says %q", got)
	}
}

func TestPauseAfterAFlood(t *testing.T) {
	r, now := &revival{}, time.Unix(1e9, 0)
	var got []time.Duration
	for range 7 {
		got = append(got, r.pause(now, true, floodFirst))
		now = now.Add(got[len(got)-1])
	}
	if got[0] != time.Minute || got[1] != 2*time.Minute || got[6] != floodMax {
		t.Errorf("pauses %v, want 1m, 2m, … up to %v", got, floodMax)
	}
	if p := r.pause(now.Add(floodForget+time.Second), true, floodFirst); p != floodFirst {
		t.Errorf("pause %v long after the last flood, want %v", p, floodFirst)
	}
	if p := r.pause(now, false, floodFirst); p != reviveFirst {
		t.Errorf("pause %v after an ordinary end, want %v", p, reviveFirst)
	}
}

// Texts of RFC 9003 pass both ways: ours is on the wire, a neighbour's is the cause of the session's end.
func TestShutdownTexts(t *testing.T) {
	s, p := rawSession(t, Options{})
	text := "fibre works until 10:00 \u2013 call +31 20"
	p.write(t, rawMessage(msgNotification, append([]byte{6, 2, byte(len(text))}, text...)))
	await(t, "the neighbour's text", func() bool {
		return strings.Contains(s.Neighbors()[0].Cause, "administrative shutdown") && strings.Contains(s.Neighbors()[0].Cause, text)
	})
	await(t, "the session back, which no longer says why it ended", func() bool { return s.established() == 1 && s.Neighbors()[0].Cause == "" })
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := s.Shutdown(ctx, "new kernel"); err != nil {
		t.Fatal(err)
	}
	await(t, "our text", func() bool { return bytes.Equal(p.notification(), append([]byte{6, 2, 10}, "new kernel"...)) })
}

// Nothing but what is allowed ever leaves: not what Set is asked for by mistake, not what a neighbour sent us.
func TestOnlyAllowedPrefixesLeave(t *testing.T) {
	routes := manyRoutes(4, true, true)
	allowed := []netip.Prefix{routes[0].Prefix, routes[1].Prefix}
	s, p := rawSession(t, Options{Allowed: allowed})
	p.send(t, netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("0.0.0.0/0"))
	longer := routes[0]
	longer.Prefix = netip.PrefixFrom(longer.Prefix.Addr(), 25)
	err := s.Set(append([]Route{longer}, routes...))
	for _, refused := range []netip.Prefix{longer.Prefix, routes[2].Prefix, routes[3].Prefix} {
		if err == nil || !strings.Contains(err.Error(), refused.String()) {
			t.Errorf("got %v, want an error that names %v", err, refused)
		}
	}
	if err := s.Set(routes[:2]); err != nil {
		t.Fatal(err)
	}
	await(t, "the allowed routes", func() bool { _, n, _, _ := p.count(); return n >= 2 })
	s.SetAllowed(allowed[:1])
	if err := s.Set(routes[:2]); err == nil {
		t.Error("a route that is allowed no more was taken")
	}
	await(t, "the withdrawal of what is allowed no more", func() bool { n, _, _, _ := p.count(); return n >= 1 })
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.updates {
		for _, got := range u.announced {
			if got != allowed[0] && got != allowed[1] {
				t.Errorf("%v left", got)
			}
		}
	}
}
