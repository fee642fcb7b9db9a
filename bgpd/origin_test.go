package bgpd

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/catchment-net/catchment/bgpd/announce"
	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// cache is an RTR server of version 0 (RFC 6810) with one VRP, for the prefix four.
type cache struct {
	addr   string
	mu     sync.Mutex // guards the following
	asn    uint32
	serial uint32
	conns  []net.Conn
}

func newCache(t *testing.T, asn uint32) *cache {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cache{addr: l.Addr().String(), asn: asn}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.conns = append(c.conns, conn)
			c.mu.Unlock()
			running.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		c.mu.Lock()
		for _, conn := range c.conns {
			conn.Close()
		}
		c.mu.Unlock()
		running.Wait()
	})
	return c
}

// rtr writes a header of version 0 and a body.
func rtr(kind byte, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, kind, 0, 7}, uint32(8+len(body)))
	return append(b, body...)
}

// serve answers a Reset Query with all, and a Serial Query with Cache Reset.
func (c *cache) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var head [8]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[4:]))-8)
		c.mu.Lock()
		vrp := append([]byte{1, 24, 24, 0}, netip.MustParsePrefix(four).Addr().AsSlice()...)
		vrp = binary.BigEndian.AppendUint32(vrp, c.asn)
		answer := bytes.Join([][]byte{rtr(3), rtr(4, vrp...), rtr(7, binary.BigEndian.AppendUint32(nil, c.serial)...)}, nil)
		c.mu.Unlock()
		if head[1] == 1 {
			answer = rtr(8)
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// says changes the VRP and notifies.
func (c *cache) says(asn uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asn, c.serial = asn, c.serial+1
	for _, conn := range c.conns {
		_, _ = conn.Write(rtr(0, binary.BigEndian.AppendUint32(nil, c.serial)...))
	}
}

// What the RPKI calls invalid is not announced where it is to be refused, with the reason in the events; what it knows
// nothing of leaves, and everything does while no server answers.
func TestOriginsAreChecked(t *testing.T) {
	here, there := netip.MustParseAddr("127.66.8.1"), netip.MustParseAddr("127.66.8.2")
	p := newPeer(t, here, there, 64500, "")
	rtr, topo, ring, said := newCache(t, 64499), network(), event.NewRing(event.Options{Node: "ams1"}), &claims{}
	s, _ := together(t, p, Options{
		Node: "ams1", Neighbors: []speaker.Neighbor{{Name: "arc", Address: here, Port: p.speaker.Addrs()[0].Port(), ASN: 64496, Local: there}},
		Events: ring, OnClaims: said.take,
	}, topo)
	with := func(change func(*topology.BGP)) *topology.Topology {
		now := *topo
		change(&now.BGP)
		return &now
	}
	apply := func(topo *topology.Topology) {
		t.Helper()
		if err := s.Apply(topo); err != nil {
			t.Fatal(err)
		}
	}
	s.SetView(fleet(topo, up))
	await(t, "everything", p.shows(everything...))

	nobody := with(func(b *topology.BGP) { b.RPKI = topology.RPKI{Servers: []string{"127.0.0.1:1"}, Refuse: true} })
	apply(nobody)
	await(t, "an error of the server", func() bool { o := s.Origins(); return len(o.Servers) == 1 && o.Servers[0].Error != "" })
	if o := s.Origins(); o.Checked || o.Prefixes[netip.MustParsePrefix(four)] != unchecked || !p.shows(everything...)() {
		t.Errorf("nobody answers: status %+v, and not everything is announced", o)
	}

	warn := with(func(b *topology.BGP) { b.RPKI.Servers = []string{rtr.addr} })
	apply(warn)
	judged := func(want string) func() bool {
		return func() bool { return s.Origins().Prefixes[netip.MustParsePrefix(four)] == want }
	}
	await(t, "the verdict", judged("invalid"))
	if !p.shows(everything...)() {
		t.Error("a warning took a prefix away")
	}

	refuse := with(func(b *topology.BGP) { b.RPKI = topology.RPKI{Servers: []string{rtr.addr}, Refuse: true} })
	apply(refuse)
	await(t, "the refusal", p.shows(slices.DeleteFunc(slices.Clone(everything), func(s string) bool { return s == four })...))
	if slices.Contains(said.last(), netip.MustParsePrefix(four)) {
		t.Error("a refused prefix is claimed")
	}
	events, _, _ := ring.After(0)
	if !slices.ContainsFunc(events, func(e event.Event) bool {
		return e.Kind == event.Announce && e.Subject == four && e.State == "withdrawn" && e.Cause == "refused: the RPKI calls it invalid for AS 64500"
	}) {
		t.Errorf("no event tells of the refusal: %+v", events)
	}
	if !slices.ContainsFunc(events, func(e event.Event) bool { return e.Kind == event.Origin && e.Subject == four && e.State == "invalid" }) {
		t.Errorf("no event tells of the verdict: %+v", events)
	}

	if why, err := s.Explain(netip.MustParsePrefix(four)); err != nil || why.State != announce.Withdrawn || !slices.ContainsFunc(why.Conditions, func(c announce.Condition) bool {
		return c.What == "RPKI" && !c.OK && c.Value == "invalid"
	}) {
		t.Errorf("the explanation is %+v, %v", why, err)
	}
	rtr.says(64500)
	began := time.Now()
	await(t, "everything again", p.shows(everything...))
	t.Logf("announced %v after the ROA was mended", time.Since(began))
	await(t, "the verdict", judged("valid"))
	apply(topo)
	if o := s.Origins(); len(o.Servers) != 0 || len(o.Prefixes) != 0 {
		t.Errorf("without servers the status is %+v", o)
	}
}
