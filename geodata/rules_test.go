package geodata

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/internal/conf"
)

func rulesText(rules []*Rule) []string {
	var out []string
	for _, r := range rules {
		s := fmt.Sprintf("%v AS%d %v %v %q %s", r.Prefix, r.ASN, r.To, r.RTT, r.Why, r.Where())
		out = append(out, strings.TrimPrefix(strings.ReplaceAll(s, " AS0", ""), "invalid Prefix "))
	}
	return out
}

func TestReadRules(t *testing.T) {
	text := []byte("\ufeff# who, where to\n198.51.100.0/24, ams, nyc # contract 4711\nAS64501,sin\nas64502,ams#\n2001:db8::/32,nyc\n203.0.113.7,ams\n\n")
	doc := conf.Plain("steering.csv", text)
	r := ReadRules(doc, text)
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{`198.51.100.0/24 [ams nyc] 0s "contract 4711" steering.csv:2`, `2001:db8::/32 [nyc] 0s "" steering.csv:5`, `203.0.113.7/32 [ams] 0s "" steering.csv:6`}
	if d := cmp.Diff(want, rulesText(r.Prefixes)); d != "" {
		t.Errorf("prefix rules (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{`AS64501 [sin] 0s "" steering.csv:3`, `AS64502 [ams] 0s "" steering.csv:4`}, rulesText(r.ASNs)); d != "" {
		t.Errorf("ASN rules (-want +got):\n%s", d)
	}
	if names := r.Names(); len(names) != 3 || names["sin"].Line != 3 {
		t.Errorf("names %v", names)
	}
}

func TestReadMeasured(t *testing.T) {
	text := []byte("198.51.100.0/24,ams,30\n198.51.100.0/24,none\n2001:db8::/32,nyc,12.5ms\n198.51.100.0/24,nyc,9.5 # probe 7\n")
	doc := conf.Plain("measured.csv", text)
	r := ReadMeasured(doc, text)
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{`198.51.100.0/24 [nyc ams none] 9.5ms "probe 7" measured.csv:4`, `2001:db8::/32 [nyc] 12.5ms "" measured.csv:3`}
	if d := cmp.Diff(want, rulesText(r.Measured)); d != "" {
		t.Errorf("measured (-want +got):\n%s", d)
	}
	if r.Measured[0].RTT != 9500*time.Microsecond {
		t.Errorf("RTT %v", r.Measured[0].RTT)
	}
}

func TestRulesWithMistakes(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		read             func(*conf.Doc, []byte) Rules
	}{
		{"host bits", "192.0.2.1/24,ams\n", `f:1: "192.0.2.1/24" has host bits set; did you mean 192.0.2.0/24?`, ReadRules},
		{"nowhere", "192.0.2.0/24\n", `f:1: "192.0.2.0/24" says nothing of where to; want PREFIX,POP or AS64500,POP`, ReadRules},
		{"empty name", "192.0.2.0/24,ams,,nyc\n", "f:1: an empty name; want POPs or targets", ReadRules},
		{"no network", "Berlin,ams\n", `f:1: "Berlin" is no network; want 192.0.2.0/24, 2001:db8::/32 or AS64500`, ReadRules},
		{"AS 0", "AS0,ams\n", `f:1: "AS0" is no network`, ReadRules},
		{"reserved AS", "AS4294967295,ams\n", `f:1: "AS4294967295" is no network`, ReadRules},
		{"mapped", "::ffff:192.0.2.0/120,ams\n", `f:1: "::ffff:192.0.2.0/120" is an IPv4 network written as IPv6; want it as 192.0.2.0/24`, ReadRules},
		{"twice", "AS1,ams\n\nAS1,nyc\n", "f:3: AS1 has a rule already, in line 1; want one of them", ReadRules},
		{"measured twice", "192.0.2.0/24,ams,1\n192.0.2.0/24,ams,2\n", `f:2: 192.0.2.0/24 to "ams" was measured in line 1 already; want one row`, ReadMeasured},
		{"seconds", "192.0.2.0/24,ams,2m\n", `f:1: round-trip time "2m"; want milliseconds (12.5) or a duration (12ms), above 0 and below 1m0s`, ReadMeasured},
		{"fields", "192.0.2.0/24\n", "f:1: 1 fields; want PREFIX,POP or PREFIX,POP,RTT", ReadMeasured},
		{"network", "192.0.2.0/33,ams\n", `f:1: "192.0.2.0/33" is no network`, ReadMeasured},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := conf.Plain("f", []byte(c.text))
			c.read(doc, []byte(c.text))
			if err := doc.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzRules(f *testing.F) {
	f.Add([]byte("198.51.100.0/24,ams # why\nAS64501,sin\n"))
	f.Add([]byte("198.51.100.0/24,ams,30\n198.51.100.0/24,nyc,1ms\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Sources
		for _, read := range []func(*conf.Doc, []byte) Rules{ReadRules, ReadMeasured} {
			doc := conf.Plain("f", text)
			r := read(doc, text)
			if doc.Err() == nil {
				s.Rules.Prefixes = append(s.Rules.Prefixes, r.Prefixes...)
				s.Rules.Measured = append(s.Rules.Measured, r.Measured...)
			}
		}
		atlas, err := NewAtlas(s)
		if err != nil {
			t.Fatal(err)
		}
		table, err := atlas.Compile(policy)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range s.Rules.Prefixes {
			checkAddr(&s, table, r.Prefix.Addr(), t.Fatalf)
		}
	})
}
