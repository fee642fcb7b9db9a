package nameserver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

const example = `$TTL 300
@            SOA a.nic hostmaster.nic 1 3600 600 1209600 60
@            NS  a.nic
a.nic        A   203.0.113.145
www.nic      CNAME a.nic
shop         NS  ns1.shop
shop         NS  ns.elsewhere.test.
ns1.shop     A   192.0.2.53
ns1.shop     AAAA 2001:db8:53::53
`

const root = `$TTL 300
.            SOA a.nic.example. hostmaster.nic.example. 1 3600 600 1209600 60
.            NS  a.nic.example.
example.     NS  a.nic.example.
test.        NS  a.nic.test.
a.nic.test.  A   203.0.113.146
`

func TestAnswers(t *testing.T) {
	s, err := New(Options{Host: "a.nic.example", Zones: []Zone{{"example.", []byte(example)}, {".", []byte(root)}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, name string
		qtype      uint16
		want       string
	}{
		{"an address", "a.nic.example.", dns.TypeA, "NOERROR aa, answer A"},
		{"in any case", "A.NIC.eXample.", dns.TypeA, "NOERROR aa, answer A"},
		{"an alias", "www.nic.example.", dns.TypeA, "NOERROR aa, answer CNAME"},
		{"no such type", "a.nic.example.", dns.TypeAAAA, "NOERROR aa, authority SOA"},
		{"nothing but names below", "nic.example.", dns.TypeA, "NOERROR aa, authority SOA"},
		{"no such name", "nobody.example.", dns.TypeA, "NXDOMAIN aa, authority SOA"},
		{"a referral with glue", "www.shop.example.", dns.TypeA, "NOERROR, authority NS NS, additional A AAAA"},
		{"a delegation itself", "shop.example.", dns.TypeNS, "NOERROR, authority NS NS, additional A AAAA"},
		{"glue is not ours to answer", "ns1.shop.example.", dns.TypeA, "NOERROR, authority NS NS, additional A AAAA"},
		{"the apex", "example.", dns.TypeNS, "NOERROR aa, answer NS"},
		{"from the root", "www.shop.test.", dns.TypeA, "NOERROR, authority NS, additional A"},
		{"the root itself", ".", dns.TypeNS, "NOERROR aa, answer NS"},
	} {
		q := new(dns.Msg)
		q.SetQuestion(c.name, c.qtype)
		if got := describe(s.Answer(q)); got != c.want {
			t.Errorf("%s: %s %s: got %q, want %q", c.what, c.name, dns.TypeToString[c.qtype], got, c.want)
		}
	}
	only, err := New(Options{Host: "a.nic.example", Zones: []Zone{{"example.", []byte(example)}}})
	if err != nil {
		t.Fatal(err)
	}
	q := new(dns.Msg)
	q.SetQuestion("www.test.", dns.TypeA)
	if got := describe(only.Answer(q)); got != "REFUSED" {
		t.Errorf("outside its zones: got %q", got)
	}
}

func describe(m *dns.Msg) string {
	text := dns.RcodeToString[m.Rcode]
	if m.Authoritative {
		text += " aa"
	}
	for _, s := range []struct {
		name    string
		records []dns.RR
	}{{"answer", m.Answer}, {"authority", m.Ns}, {"additional", m.Extra}} {
		var types []string
		for _, rr := range s.records {
			types = append(types, dns.TypeToString[rr.Header().Rrtype])
		}
		if len(types) > 0 {
			text += fmt.Sprintf(", %s %s", s.name, strings.Join(types, " "))
		}
	}
	return text
}

func TestBrokenZonesAreRefused(t *testing.T) {
	for _, text := range []string{"@ A 192.0.2.1\n", "$TTL 300\n@ A nonsense\n"} {
		if _, err := New(Options{Zones: []Zone{{"example.", []byte(text)}}}); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
