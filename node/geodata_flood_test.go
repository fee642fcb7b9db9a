package node

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// ecsQuery asks where a client of 198.51.100.0/24 goes.
func ecsQuery(id uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion("www.shop.example.", dns.TypeA)
	m.Id = id
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IP{198, 51, 100, 0}})
	return m
}

// While databases are replaced again and again, one of them bad, every query is answered, each by one of the databases
// whole.
func TestNoQueryIsLostWhileGeodataChanges(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	w.write("geo.mmdb", string(geoText(t, "DE")))
	w.write("sites/shop.yaml", strings.Replace(siteText, "pinned", "geo", 1))
	ready := make(chan []string, 1)
	srv, err := NewStandaloneDNS(StandaloneDNS{
		Zones: []string{"shop.example=" + filepath.Join(w.dir, "zones/shop.example")}, Listen: []string{"127.0.0.1:0"}, Dir: w.dir, RateLimit: -1,
		Ready: func(addrs []string) { ready <- addrs },
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, srv.Run)
	conn, err := dns.Dial("udp", (<-ready)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ams, nyc := netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("203.0.113.16/28")
	ask := func(id uint16) netip.Prefix {
		if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		if err := conn.WriteMsg(ecsQuery(id)); err != nil {
			t.Fatal(err)
		}
		m, err := conn.ReadMsg()
		if err != nil || m.Id != id || len(m.Answer) == 0 {
			t.Fatalf("query %d: %v, %v", id, err, m)
		}
		a, ok := m.Answer[0].(*dns.A)
		if !ok {
			t.Fatalf("query %d: %v", id, m.Answer[0])
		}
		addr, _ := netip.AddrFromSlice(a.A.To4())
		for _, pop := range []netip.Prefix{ams, nyc} {
			if pop.Contains(addr) {
				return pop
			}
		}
		t.Fatalf("query %d: %v is of no POP", id, addr)
		return netip.Prefix{}
	}
	id := uint16(0)
	until := func(want netip.Prefix) {
		for start := time.Now(); ask(id) != want; id++ {
			if time.Since(start) > limit {
				t.Fatalf("no answer %v after %v", want, limit)
			}
		}
	}
	until(ams)
	for range 2 {
		w.write("geo.mmdb", string(geoText(t, "US")))
		until(nyc)
		w.write("geo.mmdb", "half a file")
		w.write("geo.mmdb", string(geoText(t, "DE")))
		until(ams)
	}
}
