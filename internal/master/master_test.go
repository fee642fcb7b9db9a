package master

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/conf"
)

// read returns the records and the messages of a zone shop.example.
func read(text string, o Options) (records []string, faults string) {
	doc := conf.Plain("zones/shop.example", []byte(text))
	Read(doc, "shop.example.", []byte(text), o, func(rr dns.RR) { records = append(records, strings.Join(strings.Fields(rr.String()), " ")) })
	if err := doc.Err(); err != nil {
		faults = err.Error()
	}
	return records, faults
}

func TestRead(t *testing.T) {
	got, faults := read("$TTL 300\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\nNS1 A 192.0.2.1\n\\119ww TXT \"a;b\"\n$GENERATE 1-2 h$ A 192.0.2.$\n$GENERATE 7-7 g$ 9 IN A 192.0.2.$\n$ORIGIN sub\nx 60 A 192.0.2.9\n", Options{})
	want := []string{
		"shop.example. 300 IN SOA ns1.shop.example. host.shop.example. 1 2 3 4 5", "shop.example. 300 IN NS ns1.shop.example.", "ns1.shop.example. 300 IN A 192.0.2.1",
		`www.shop.example. 300 IN TXT "a;b"`, "h1.shop.example. 300 IN A 192.0.2.1", "h2.shop.example. 300 IN A 192.0.2.2", "g7.shop.example. 9 IN A 192.0.2.7", "x.sub.shop.example. 60 IN A 192.0.2.9",
	}
	if d := cmp.Diff(want, got); d != "" || faults != "" {
		t.Errorf("faults %q, records (-want +got):\n%s", faults, d)
	}
}

func TestMistakesAndTheirPlaces(t *testing.T) {
	const top = "$TTL 300\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\n"
	for _, c := range []struct{ name, text, want string }{
		{"no TTL", "@ SOA ns1 host 1 2 3 4 5\n", "zones/shop.example:1:6: the first record has no TTL; begin the file with `$TTL 300`"},
		{"a TTL too long", top + "w 2147483648 A 192.0.2.1\n", "zones/shop.example:4: TTL 2147483648 is too long; write at most 2147483647 seconds (RFC 2181 §8)"},
		{"another class", top + "w CH TXT x\n", `zones/shop.example:4: record of "w.shop.example." has the class CH; write IN, or leave the class out`},
		{"two DNAME", top + "w DNAME a\nw DNAME b\n", `zones/shop.example:5: a second DNAME at "w.shop.example."; keep one: a name is moved to one place (RFC 6672 §2.4)`},
		{"an escaped name is the same name", top + "www CNAME a\n\\119ww A 192.0.2.1\n", `zones/shop.example:5: "www.shop.example." has a CNAME and other records; keep one of them: a CNAME stands alone (RFC 1034 §3.6.2)`},
		{"an endless range", top + "$GENERATE 0-999999 h$ A 192.0.2.1\n", `zones/shop.example:4:19: $GENERATE: "0-999999" is not what belongs here; write ` + "`$GENERATE 1-20 host$ A 192.0.2.$`, with 65,536 records at most"},
		{"all of them", "$TTL 300\n@ SOA ns1 host 1 2 3 4 5\nw A x\nv AAAA y\nother. A 192.0.2.1\n", strings.Join([]string{
			`zones/shop.example:3:5: A record: "x" is no address for it; A takes an IPv4 address, AAAA an IPv6 address`,
			`zones/shop.example:4:8: AAAA record: "y" is no address for it; A takes an IPv4 address, AAAA an IPv6 address`,
		}, "\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, got := read(c.text, Options{}); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	if _, got := read("@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\n", Options{DefaultTTL: 60}); got != "" {
		t.Errorf("with a default TTL: %s", got)
	}
}

// A few lines must not fill the memory.
func TestRecordsHaveALimit(t *testing.T) {
	text := "$TTL 300\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\n" + strings.Repeat("$GENERATE 0-65535 h$ A 192.0.2.1\n", 10000)
	doc := conf.Plain("f", []byte(text))
	n := 0
	Read(doc, "shop.example.", []byte(text), Options{MaxRecords: 100_000}, func(dns.RR) { n++ })
	if err := doc.Err(); n != 100_000 || err == nil || !strings.Contains(err.Error(), "more than 100000 records; split the zone") {
		t.Errorf("%d records, error %v", n, err)
	}
}

// FuzzRead reads any bytes: they are a whole zone, or each mistake lies within the file and has a remedy.
func FuzzRead(f *testing.F) {
	f.Add("$TTL 300\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\n")
	f.Add("$ORIGIN x.\n@ 1 SOA a b ( 1 2 3\n 4 5 )\n")
	f.Add("$GENERATE 1-3 a$ A 192.0.2.$\n$INCLUDE x\n")
	f.Add("a A x\nb A y\n\"c\" A z\n")
	f.Fuzz(func(t *testing.T, text string) {
		doc := conf.Plain("f", []byte(text))
		soa := 0
		Read(doc, "shop.example.", []byte(text), Options{}, func(rr dns.RR) {
			if rr.Header().Rrtype == dns.TypeSOA {
				soa++
			}
		})
		err := doc.Err()
		var problems *conf.Problems
		switch {
		case err == nil && soa != 1:
			t.Fatalf("taken with %d SOA records", soa)
		case err == nil:
			return
		case !errors.As(err, &problems):
			t.Fatalf("got %T: %v", err, err)
		}
		lines := strings.Count(text, "\n") + 1
		for _, p := range problems.List {
			if p.Line < 0 || p.Line > lines+1 || p.Fix == "" {
				t.Errorf("problem %q in %d lines", p, lines)
			}
		}
	})
}
