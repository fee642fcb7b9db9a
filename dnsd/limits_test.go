package dnsd

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/rrl"
)

func TestQuickBits(t *testing.T) {
	for i, qtype := range quick {
		if quickBit(qtype) != 1<<i {
			t.Errorf("%s has bit %d, want %d", dns.Type(qtype), quickBit(qtype), 1<<i)
		}
	}
	for qtype := range uint16(65535) {
		if bit := quickBit(qtype); bit != 0 && quick[trailing(bit)] != qtype {
			t.Errorf("type %d has the bit of %s", qtype, dns.Type(quick[trailing(bit)]))
		}
	}
}

func trailing(bit typeSet) (n int) {
	for ; bit > 1; bit >>= 1 {
		n++
	}
	return n
}

// Too many equal answers are dropped or slip out truncated, or as BADCOOKIE, with whose cookie all are answered again.
func TestRateLimitAndCookies(t *testing.T) {
	s, err := New(Options{RateLimit: rrl.Options{Rate: 1, Window: time.Second, Slip: 1}, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(testConfig(t)); err != nil {
		t.Fatal(err)
	}
	from := asker{addr: netip.MustParseAddr("198.51.100.1")}
	ns1 := query("ns1.shop.example.", dns.TypeA)
	if r := ask(t, s, ns1, from); len(r.Answer) != 1 {
		t.Errorf("the first: %v", r)
	}
	if r := ask(t, s, ns1, from); !r.Truncated || len(r.Answer) != 0 {
		t.Errorf("the second: %v; want TC and nothing else", r)
	}
	if r := ask(t, s, query("www.shop.example.", dns.TypeA), from); len(r.Answer) != 1 {
		t.Errorf("another name: %v", r)
	}
	if r := ask(t, s, ns1, asker{addr: from.addr, tcp: true}); len(r.Answer) != 1 {
		t.Errorf("over TCP: %v", r)
	}
	r := ask(t, s, query("ns1.shop.example.", dns.TypeA, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}), from)
	if r.Rcode != dns.RcodeBadCookie || len(r.Answer) != 0 {
		t.Fatalf("with a cookie of his own: %v; want BADCOOKIE", r)
	}
	both := r.IsEdns0().Option[0].(*dns.EDNS0_COOKIE).Cookie
	if len(both) != 48 || !strings.HasPrefix(both, "0102030405060708") {
		t.Fatalf("cookie %q, want the client's and 16 bytes", both)
	}
	good := query("ns1.shop.example.", dns.TypeA, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: both})
	for range 3 {
		if r := ask(t, s, good, from); len(r.Answer) != 1 {
			t.Errorf("with our cookie: %v; want the answer", r)
		}
	}
	if n := s.metrics.total(); n.limited[rrl.Truncate] != 2 || n.cookies != 3 {
		t.Errorf("%d limited, %d with cookies; want 2, 3", n.limited[rrl.Truncate], n.cookies)
	}
}

// The log has every second query here, and what finds no room is counted.
func TestQueryLog(t *testing.T) {
	var b strings.Builder
	s, err := New(Options{QueryLog: QueryLog{Writer: &b, Every: 2}, RateLimit: rrl.Options{Rate: -1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(testConfig(t)); err != nil {
		t.Fatal(err)
	}
	w := s.newWorker(s.tcp)
	packet, _ := query("wWw.shop.example.", dns.TypeA, subnet("198.51.100.64/27")).Pack()
	for range 2*logQueue + 6 {
		w.one(packet, nil, asker{addr: netip.MustParseAddr("198.51.100.1")})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.log.run(ctx, s.metrics.popNo.name)
	if n := strings.Count(b.String(), "\n"); n < logQueue || s.log.lost() != 3 {
		t.Errorf("%d lines, %d lost; want %d, 3", n, s.log.lost(), logQueue)
	}
	if want := `"client":"198.51.100.1","transport":"udp","name":"wWw.shop.example.","type":"A","rcode":"NOERROR"`; !strings.Contains(b.String(), want) || !strings.Contains(b.String(), `"subnet":"198.51.100.64/27","scope":27,"to":"nyc"`) {
		t.Errorf("first line %s", strings.SplitN(b.String(), "\n", 2)[0])
	}
}
