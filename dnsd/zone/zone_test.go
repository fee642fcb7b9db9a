package zone

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

const shop = `
$TTL 1h
@        SOA ns1 hostmaster 7 3600 600 86400 300
@        NS  ns1
@        NS  ns.other.example.
@        MX  10 mail
ns1      A   192.0.2.53
mail     A   192.0.2.25
         AAAA 2001:db8::25
www      TXT "zone's own"
www      A   192.0.2.99           ; hidden by steering
alias    CNAME www
far      CNAME mail.other.example.
gone     CNAME nothing
loop1    CNAME loop2
loop2    CNAME loop1
a.b.c    A   192.0.2.1
*.wild   A   192.0.2.2
*.wild   MX  10 mail
x.wild   TXT "exists"
deep.ent.wild A 192.0.2.3
*.cw     CNAME mail
sub      NS  ns.sub
sub      NS  ns1
sub      DS  1 13 2 ABCD00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDD
ns.sub   A   192.0.2.54
geo      NS  www
www.sub  A   192.0.2.55           ; occluded: glue at best
into     CNAME www.sub
old      DNAME new
old      TXT "at the owner itself"
a.old    A   192.0.2.66           ; occluded
host.new A   192.0.2.4
out      DNAME other.example.
many     A   192.0.2.5
many     A   192.0.2.6
many     300 A 192.0.2.7
img.eu   TXT "beside a steered host"
www      HTTPS 1 . alpn=h2 ipv4hint=192.0.2.99 port=8443
cdn      HTTPS 1 . alpn=h3
mail     HTTPS 1 . alpn=h2 ipv4hint=192.0.2.25
apex2    HTTPS 0 www
byname   HTTPS 2 www alpn=h2 ipv6hint=2001:db8::99
anyname  SVCB 1 q.any alpn=dot
`

// fixed answers every steered name with one address, or a CNAME for hosts that start with "c".
type fixed struct{}

func (fixed) Steer(host, owner string, qtype uint16) []dns.RR {
	h := dns.RR_Header{Name: owner, Class: dns.ClassINET, Ttl: 20}
	if host[0] == 'c' {
		h.Rrtype = dns.TypeCNAME
		return []dns.RR{&dns.CNAME{Hdr: h, Target: "mail.shop.example."}}
	}
	if qtype != dns.TypeA {
		return nil
	}
	h.Rrtype = dns.TypeA
	return []dns.RR{&dns.A{Hdr: h, A: []byte{203, 0, 113, 1}}}
}

func parse(tb testing.TB, origin, text string) *Zone {
	tb.Helper()
	z, err := Parse(origin, "zones/"+origin, []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return z
}

func shopSet(tb testing.TB) *Set {
	tb.Helper()
	s, err := NewSet([]*Zone{
		parse(tb, "shop.example", shop),
		parse(tb, "kid.shop.example", "@ 60 SOA ns m 1 1 1 1 900\n@ NS ns\nns A 192.0.2.77\n"),
	}, []string{"www.shop.example", "cdn.shop.example", "app.eu.west.shop.example", "*.any.shop.example"}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// short writes an answer as "RCODE aa | answer | authority | additional", the records as "name TYPE data".
func short(a Answer) string {
	list := func(rrs []dns.RR) string {
		var out []string
		for _, rr := range rrs {
			data := strings.TrimPrefix(rr.String(), rr.Header().String())
			switch rr := rr.(type) {
			case *dns.SOA:
				data = fmt.Sprintf("ttl=%d", rr.Hdr.Ttl)
			case *dns.DS:
				data = fmt.Sprint(rr.KeyTag)
			}
			out = append(out, fmt.Sprintf("%s %s %s", rr.Header().Name, dns.Type(rr.Header().Rrtype), data))
		}
		return strings.ReplaceAll(strings.Join(out, ", "), "shop.example.", "@")
	}
	text := dns.RcodeToString[a.Rcode]
	if a.Authoritative {
		text += " aa"
	}
	return strings.TrimRight(text+" | "+list(a.Answer)+" | "+list(a.Authority)+" | "+list(a.Additional), " |")
}

func TestResolve(t *testing.T) {
	s := shopSet(t)
	const soa = "@ SOA ttl=300"
	for _, c := range []struct{ rule, name, qtype, want string }{
		{"RFC 1034 §4.3.2: data", "mail.shop.example.", "A", "NOERROR aa | mail.@ A 192.0.2.25"},
		{"the top", "shop.example.", "SOA", "NOERROR aa | @ SOA ttl=3600"},
		{"the zone's servers, with their addresses", "shop.example.", "NS", "NOERROR aa | @ NS ns1.@, @ NS ns.other.example. |  | ns1.@ A 192.0.2.53"},
		{"several records, one TTL", "many.shop.example.", "A", "NOERROR aa | many.@ A 192.0.2.5, many.@ A 192.0.2.6, many.@ A 192.0.2.7"},
		{"the case of the question comes back", "MaIl.sHop.Example.", "A", "NOERROR aa | MaIl.sHop.Example. A 192.0.2.25"},
		{"outside all zones", "example.", "A", "REFUSED"},
		{"a name that only ends alike", "myshop.example.", "A", "REFUSED"},
		{"RFC 2308 §2.1: NXDOMAIN", "nothing.shop.example.", "A", "NXDOMAIN aa |  | " + soa},
		{"RFC 2308 §2.2: NODATA", "mail.shop.example.", "TXT", "NOERROR aa |  | " + soa},
		{"empty non-terminal", "b.c.shop.example.", "A", "NOERROR aa |  | " + soa},
		{"below an empty non-terminal", "x.c.shop.example.", "A", "NXDOMAIN aa |  | " + soa},
		{"CNAME in the zone", "gone.shop.example.", "A", "NXDOMAIN aa | gone.@ CNAME nothing.@ | " + soa},
		{"CNAME asked for", "gone.shop.example.", "CNAME", "NOERROR aa | gone.@ CNAME nothing.@"},
		{"CNAME out of the zone", "far.shop.example.", "A", "NOERROR aa | far.@ CNAME mail.other.example."},
		{"CNAME loop", "loop1.shop.example.", "A", "NOERROR aa | loop1.@ CNAME loop2.@, loop2.@ CNAME loop1.@"},
		{"CNAME to a steered host", "alias.shop.example.", "A", "NOERROR aa | alias.@ CNAME www.@, www.@ A 203.0.113.1"},
		{"CNAME below a delegation", "into.shop.example.", "A", "NOERROR aa | into.@ CNAME www.sub.@ | sub.@ NS ns.sub.@, sub.@ NS ns1.@ | ns.sub.@ A 192.0.2.54, ns1.@ A 192.0.2.53"},
		{"RFC 4592 §2.1.1: wildcard", "q.wild.shop.example.", "A", "NOERROR aa | q.wild.@ A 192.0.2.2"},
		{"wildcard, several labels", "p.q.wild.shop.example.", "A", "NOERROR aa | p.q.wild.@ A 192.0.2.2"},
		{"wildcard without the type", "q.wild.shop.example.", "AAAA", "NOERROR aa |  | " + soa},
		{"wildcard keeps off what exists", "x.wild.shop.example.", "A", "NOERROR aa |  | " + soa},
		{"wildcard keeps off below what exists", "y.x.wild.shop.example.", "A", "NXDOMAIN aa |  | " + soa},
		{"wildcard keeps off an empty non-terminal", "ent.wild.shop.example.", "A", "NOERROR aa |  | " + soa},
		{"wildcard keeps off below one", "z.ent.wild.shop.example.", "A", "NXDOMAIN aa |  | " + soa},
		{"the wildcard itself", "*.wild.shop.example.", "A", "NOERROR aa | *.wild.@ A 192.0.2.2"},
		{"the wildcard's parent", "wild.shop.example.", "A", "NOERROR aa |  | " + soa},
		{"wildcard CNAME", "q.cw.shop.example.", "A", "NOERROR aa | q.cw.@ CNAME mail.@, mail.@ A 192.0.2.25"},
		{"delegation", "www.sub.shop.example.", "A", "NOERROR |  | sub.@ NS ns.sub.@, sub.@ NS ns1.@ | ns.sub.@ A 192.0.2.54, ns1.@ A 192.0.2.53"},
		{"delegation at the cut", "sub.shop.example.", "NS", "NOERROR |  | sub.@ NS ns.sub.@, sub.@ NS ns1.@ | ns.sub.@ A 192.0.2.54, ns1.@ A 192.0.2.53"},
		{"no glue from a steered host: it would be the same for all", "x.geo.shop.example.", "A", "NOERROR |  | geo.@ NS www.@"},
		{"RFC 4035 §3.1.4.1: DS at the parent", "sub.shop.example.", "DS", "NOERROR aa | sub.@ DS 1"},
		{"DS below the cut", "x.sub.shop.example.", "DS", "NOERROR |  | sub.@ NS ns.sub.@, sub.@ NS ns1.@ | ns.sub.@ A 192.0.2.54, ns1.@ A 192.0.2.53"},
		{"DS of a zone whose parent we serve, too", "kid.shop.example.", "DS", "NXDOMAIN aa |  | " + soa},
		{"DS of a zone whose parent we do not serve", "shop.example.", "DS", "NOERROR aa |  | " + soa},
		{"the deepest zone answers", "ns.kid.shop.example.", "A", "NOERROR aa | ns.kid.@ A 192.0.2.77"},
		{"negative TTL is the SOA's own if lower", "x.kid.shop.example.", "A", "NXDOMAIN aa |  | kid.@ SOA ttl=60"},
		{"RFC 6672: DNAME", "host.old.shop.example.", "A", "NOERROR aa | old.@ DNAME new.@, host.old.@ CNAME host.new.@, host.new.@ A 192.0.2.4"},
		{"DNAME hides what is below", "a.old.shop.example.", "A", "NXDOMAIN aa | old.@ DNAME new.@, a.old.@ CNAME a.new.@ | " + soa},
		{"DNAME does not touch its owner", "old.shop.example.", "TXT", `NOERROR aa | old.@ TXT "at the owner itself"`},
		{"DNAME asked for", "old.shop.example.", "DNAME", "NOERROR aa | old.@ DNAME new.@"},
		{"DNAME out of the zone", "a.b.out.shop.example.", "A", "NOERROR aa | out.@ DNAME other.example., a.b.out.@ CNAME a.b.other.example."},
		{"CNAME made by a DNAME, asked for", "host.old.shop.example.", "CNAME", "NOERROR aa | old.@ DNAME new.@, host.old.@ CNAME host.new.@"},
		{"RFC 8482: ANY gives one RRset", "mail.shop.example.", "ANY", "NOERROR aa | mail.@ A 192.0.2.25"},
		{"ANY at a steered host hides its addresses", "www.shop.example.", "ANY", `NOERROR aa | www.@ TXT "zone's own"`},
		{"ANY where all is steered", "cdn.shop.example.", "ANY", `NOERROR aa | cdn.@ HINFO "RFC8482" ""`},
		{"ANY at an empty non-terminal", "c.shop.example.", "ANY", "NOERROR aa |  | " + soa},
		{"steered host", "www.shop.example.", "A", "NOERROR aa | www.@ A 203.0.113.1"},
		{"steered host, nothing of the family", "www.shop.example.", "AAAA", "NOERROR aa |  | " + soa},
		{"steered host, a type of the zone", "www.shop.example.", "TXT", `NOERROR aa | www.@ TXT "zone's own"`},
		{"steered host, a type that is not there", "www.shop.example.", "MX", "NOERROR aa |  | " + soa},
		{"steered host that the zone lacks", "cdn.shop.example.", "TXT", "NOERROR aa |  | " + soa},
		{"steered to a CNAME in the zone", "cdn.shop.example.", "A", "NOERROR aa | cdn.@ CNAME mail.@, mail.@ A 192.0.2.25"},
		{"steered to a CNAME, asked for", "cdn.shop.example.", "CNAME", "NOERROR aa | cdn.@ CNAME mail.@"},
		{"steered host makes its parents exist", "west.shop.example.", "A", "NOERROR aa |  | " + soa},
		{"nothing beside a steered host", "x.eu.west.shop.example.", "A", "NXDOMAIN aa |  | " + soa},
		{"RFC 9460 §7.3: the hints of a steered host are steered", "www.shop.example.", "HTTPS", `NOERROR aa | www.@ HTTPS 1 . alpn="h2" port="8443" ipv4hint="203.0.113.1"`},
		{"a record that leads to a steered host", "byname.shop.example.", "HTTPS", `NOERROR aa | byname.@ HTTPS 2 www.@ alpn="h2" ipv4hint="203.0.113.1"`},
		{"to a steered wildcard", "anyname.shop.example.", "SVCB", `NOERROR aa | anyname.@ SVCB 1 q.any.@ alpn="dot" ipv4hint="203.0.113.1"`},
		{"the alias form has no hints", "apex2.shop.example.", "HTTPS", `NOERROR aa | apex2.@ HTTPS 0 www.@`},
		{"hints of a host that is not steered stay", "mail.shop.example.", "HTTPS", `NOERROR aa | mail.@ HTTPS 1 . alpn="h2" ipv4hint="192.0.2.25"`},
		{"a host steered to a CNAME: HTTPS goes with it", "cdn.shop.example.", "HTTPS", `NOERROR aa | cdn.@ CNAME mail.@, mail.@ HTTPS 1 . alpn="h2" ipv4hint="192.0.2.25"`},
		{"steered wildcard", "q.any.shop.example.", "A", "NOERROR aa | q.any.@ A 203.0.113.1"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got := short(s.Resolve(c.name, dns.StringToType[c.qtype], fixed{}))
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s %s (-want +got):\n%s", c.name, c.qtype, d)
			}
		})
	}
}

func TestLowestTTLOfAnRRset(t *testing.T) {
	for _, rr := range shopSet(t).Resolve("many.shop.example.", dns.TypeA, fixed{}).Answer {
		if rr.Header().Ttl != 300 {
			t.Errorf("%v: ttl %d, want 300 for all (RFC 2181 §5.2)", rr, rr.Header().Ttl)
		}
	}
}

// Hints are cached with their record: it must not outlive the addresses.
func TestHintsLiveNoLongerThanTheAddresses(t *testing.T) {
	s := shopSet(t)
	for range 2 { // the zone's own record stays as it is
		if ttl := s.Resolve("www.shop.example.", dns.TypeHTTPS, fixed{}).Answer[0].Header().Ttl; ttl != 20 {
			t.Errorf("ttl %d, want the 20 of the steered address", ttl)
		}
	}
	if ttl := s.Resolve("mail.shop.example.", dns.TypeHTTPS, fixed{}).Answer[0].Header().Ttl; ttl != 3600 {
		t.Errorf("ttl %d of a record that is not steered, want 3600", ttl)
	}
}

func TestDNAMETooLong(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3)
	s, err := NewSet([]*Zone{parse(t, "example", "@ SOA n m 1 1 1 1 1\n@ NS n.example.\nd DNAME "+strings.Repeat("b", 60)+"."+strings.Repeat("c", 60)+".example.\n")}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.Resolve(long+"d.example.", dns.TypeA, fixed{}); a.Rcode != dns.RcodeYXDomain || len(a.Answer) != 1 {
		t.Errorf("got %s, want YXDOMAIN with the DNAME (RFC 6672 §3.2)", short(a))
	}
}

func TestAliasChainHasALimit(t *testing.T) {
	var b strings.Builder
	b.WriteString("@ SOA n m 1 1 1 1 1\n@ NS n.example.\n")
	for i := range 40 {
		fmt.Fprintf(&b, "h%d CNAME h%d\n", i, i+1)
	}
	s, err := NewSet([]*Zone{parse(t, "example", b.String())}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.Resolve("h0.example.", dns.TypeA, fixed{}); len(a.Answer) != maxChain || a.Rcode != dns.RcodeSuccess {
		t.Errorf("%d aliases followed, rcode %d; want %d, NOERROR", len(a.Answer), a.Rcode, maxChain)
	}
}

func TestRootZone(t *testing.T) {
	s, err := NewSet([]*Zone{parse(t, ".", "@ 60 SOA a. b. 1 1 1 1 30\n@ 60 NS a.\na. 60 A 192.0.2.1\n*. 60 TXT w\n")}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a.": "NOERROR aa | a. A 192.0.2.1", "x.y.": "NOERROR aa |  | . SOA ttl=30"} {
		if got := short(s.Resolve(name, dns.TypeA, fixed{})); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const top = "@ SOA n m 1 1 1 1 1\n@ NS n\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", `zones/shop: zone shop.example. has no records; begin with`},
		{"no NS", "@ SOA n m 1 1 1 1 1\n", "has no NS record"},
		{"no SOA", "@ NS n\n", "zones/shop:1: zone shop.example. has no SOA"},
		{"outside", top + "www.other.example. A 192.0.2.1\n", `zones/shop:3: record of "www.other.example." is outside the zone`},
		{"bad address", top + "\nwww A 192.0.2.300\n", "zones/shop:4:"},
		{"second SOA", top + "@ SOA n m 2 1 1 1 1\n", "a second SOA"},
		{"SOA below the top", top + "w SOA n m 2 1 1 1 1\n", `zones/shop:3: the SOA is that of "w.shop.example."`},
		{"two CNAMEs", top + "w CNAME a\nw CNAME b\n", "has a CNAME and other records"},
		{"CNAME and data", top + "w CNAME a\nw A 192.0.2.1\n", "zones/shop:4: \"w.shop.example.\" has a CNAME and other records"},
		{"include", top + "$INCLUDE /etc/hostname\n", "zones/shop:"},
		{"class", top + "w CH TXT x\n", "the class CH"},
		{"both of two mistakes", "w CH TXT x\nv.example. A 192.0.2.1\n@ SOA n m 1 1 1 1 1\n", "the class CH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("shop.example", "zones/shop", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	if _, err := Parse("sho..p", "f", []byte(top)); err == nil {
		t.Error("an origin that is no name passes")
	}
}

func TestNewSetRefuses(t *testing.T) {
	z := parse(t, "shop.example", shop)
	_, err := NewSet([]*Zone{z, parse(t, "shop.example", shop)}, []string{"w.other.example"}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"is in zones/shop.example and in", `"w.other.example." lies in no zone`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

// What a delegation or a DNAME hides is not ours to steer; `check` warns of it.
func TestHiddenHostsAreNotSteered(t *testing.T) {
	s, err := NewSet([]*Zone{parse(t, "shop.example", shop)}, []string{"ns.sub.shop.example", "w.old.shop.example"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := short(s.Resolve("x.sub.shop.example.", dns.TypeA, fixed{})); got != "NOERROR |  | sub.@ NS ns.sub.@, sub.@ NS ns1.@ | ns.sub.@ A 192.0.2.54, ns1.@ A 192.0.2.53" {
		t.Errorf("the referral is %s", got)
	}
	if got := short(s.Resolve("w.old.shop.example.", dns.TypeA, fixed{})); !strings.HasPrefix(got, "NXDOMAIN aa | old.@ DNAME new.@") {
		t.Errorf("below the DNAME: %s", got)
	}
}

// A zone that cannot be loaded must not be denied by the one above it.
func TestBrokenZoneIsSERVFAIL(t *testing.T) {
	s, err := NewSet([]*Zone{parse(t, "shop.example", shop), NewBroken("Kid.shop.example", "zones/kid")}, []string{"www.kid.shop.example", "www.shop.example"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"kid.shop.example.": "SERVFAIL", "www.kid.shop.example.": "SERVFAIL", "a.b.kid.shop.example.": "SERVFAIL",
		"www.shop.example.": "NOERROR aa | www.@ A 203.0.113.1", "mail.shop.example.": "NOERROR aa | mail.@ A 192.0.2.25",
	} {
		if got := short(s.Resolve(name, dns.TypeA, fixed{})); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if z := s.Find("kid.shop.example."); !z.Broken() || z.Serial() != 0 || s.Last("kid.shop.example") != nil {
		t.Error("the broken zone is taken for one")
	}
}

// A reload costs what has changed: the rest is the same zone, with all that hangs on it.
func TestUnchangedZonesStayTheSame(t *testing.T) {
	text := "@ SOA n m 1 1 1 1 1\n@ NS n.example.\n"
	a, b := parse(t, "a.example", text), parse(t, "b.example", text)
	first, err := NewSet([]*Zone{a, b}, []string{"w.a.example", "w.b.example"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.Unchanged("A.example", "zones/a.example", []byte(text)) != a || first.Unchanged("a.example", "zones/a.example", []byte(text+"\n")) != nil {
		t.Fatal("what has changed and what not is mixed up")
	}
	second, err := NewSet([]*Zone{a, b}, []string{"w.b.example", "v.b.example", "w.a.example"}, first)
	if err != nil {
		t.Fatal(err)
	}
	if second.Find("a.example.") != first.Find("a.example.") {
		t.Error("a zone with the same text and hosts was made anew")
	}
	if got := short(second.Resolve("v.b.example.", dns.TypeA, fixed{})); got != "NOERROR aa | v.b.example. A 203.0.113.1" {
		t.Errorf("the new host: %s", got)
	}
}

// Whatever is asked, an answer is whole: NXDOMAIN and NODATA carry the SOA, an owner in the answer is the name that was
// asked for or one that an alias led to, and what a name has does not depend on its case.
func TestAnswersAreWhole(t *testing.T) {
	s := shopSet(t)
	labels := []string{"www", "sub", "wild", "old", "a", "b", "c", "*", "loop1", "eu", "west", "x", "cdn", "kid", "new", "host"}
	types := []uint16{dns.TypeHTTPS, dns.TypeSVCB, dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeDS, dns.TypeANY, dns.TypeCNAME, dns.TypeTXT, dns.TypeDNAME, 65280}
	rapid.Check(t, func(rt *rapid.T) {
		name := strings.Join(append(rapid.SliceOfN(rapid.SampledFrom(labels), 0, 4).Draw(rt, "labels"), "shop.example."), ".")
		qtype := rapid.SampledFrom(types).Draw(rt, "type")
		a := s.Resolve(name, qtype, fixed{})
		owners := []string{name}
		for _, rr := range a.Answer {
			if d, ok := rr.(*dns.DNAME); ok && dns.IsSubDomain(d.Hdr.Name, name) {
				continue
			}
			if !slices.Contains(owners, rr.Header().Name) {
				rt.Fatalf("%s %s: record %v answers another name", name, dns.Type(qtype), rr)
			}
			if c, ok := rr.(*dns.CNAME); ok {
				owners = append(owners, c.Target)
			}
		}
		negative := a.Rcode == dns.RcodeNameError || len(a.Answer) == 0 && a.Authoritative
		hasSOA := len(a.Authority) == 1 && a.Authority[0].Header().Rrtype == dns.TypeSOA
		if negative && !hasSOA {
			rt.Fatalf("%s %s: negative without a SOA: %s", name, dns.Type(qtype), short(a))
		}
		upper := s.Resolve(strings.ToUpper(name), qtype, fixed{})
		if !strings.EqualFold(short(a), strings.ReplaceAll(short(upper), "SHOP.EXAMPLE.", "@")) {
			rt.Fatalf("%s %s: %s, in capitals %s", name, dns.Type(qtype), short(a), short(upper))
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("shop.example", shop)
	f.Add(".", "@ SOA a. b. 1 1 1 1 1\n@ NS a.\n")
	f.Fuzz(func(t *testing.T, origin, text string) {
		z, err := Parse(origin, "f", []byte(text))
		if err != nil {
			return
		}
		s, err := NewSet([]*Zone{z}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name := range z.names {
			if a := s.Resolve(name, dns.TypeA, fixed{}); a.Rcode == dns.RcodeNameError && len(a.Answer) == 0 {
				t.Errorf("%q is in the zone and NXDOMAIN", name)
			}
		}
	})
}

// FuzzResolve asks any zone for any name and type: it ends, and the answer is no longer than the zone and the longest
// chain of aliases.
func FuzzResolve(f *testing.F) {
	f.Add(shop, "www.sub.shop.example.", dns.TypeA)
	f.Add(shop, "q.any.shop.example.", dns.TypeHTTPS)
	f.Add("@ SOA n m 1 1 1 1 1\n@ NS n\nl1 DNAME l2\nl2 DNAME l1\ng DNAME a.g\n", "x.g.shop.example.", dns.TypeANY)
	f.Add("@ SOA n m 1 1 1 1 1\n@ NS n\n* CNAME *\n", "a\\.b.shop.example.", dns.TypeDS)
	f.Fuzz(func(t *testing.T, text, name string, qtype uint16) {
		if _, ok := dns.IsDomainName(name); !ok || !fits(dns.Fqdn(name)) {
			return // no question can carry it
		}
		z, err := Parse("shop.example", "f", []byte(text))
		if err != nil {
			return
		}
		s, err := NewSet([]*Zone{z}, []string{"www.shop.example", "cdn.shop.example", "*.any.shop.example"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		records := 0
		for _, n := range s.Find("shop.example.").names {
			for _, set := range n.rrsets {
				records += len(set.rrs)
			}
		}
		a := s.Resolve(dns.Fqdn(name), qtype, fixed{})
		if got, most := len(a.Answer)+len(a.Authority)+len(a.Additional), 2*maxChain+3*records+1; got > most {
			t.Errorf("%d records in an answer from %d", got, records)
		}
		if a.Authoritative && a.Rcode == dns.RcodeNameError && len(a.Authority) != 1 {
			t.Errorf("NXDOMAIN without its SOA: %s", short(a))
		}
	})
}
