package dnsd

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

const smallZone = "@ SOA ns1 host 1 3600 600 86400 300\n@ NS ns1\nns1 A 192.0.2.53\n"

func zoneSource(name, text string) ZoneSource {
	return ZoneSource{Origin: name, File: "zones/" + name, Text: []byte(text)}
}

// says is what a name server answers for the address of ns1 in a zone: the address, or the code.
func says(t *testing.T, s *Server, origin string) string {
	t.Helper()
	r := ask(t, s, query("ns1."+origin+".", dns.TypeA), asker{})
	if r.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[r.Rcode]
	}
	return data(r)
}

func TestBadZoneHurtsItselfOnly(t *testing.T) {
	metrics := prometheus.NewRegistry()
	s, err := New(Options{Registerer: metrics})
	if err != nil {
		t.Fatal(err)
	}
	const bad = "@ SOA ns1 host 1 3600 600 86400 300\n@ NS ns1\nns1 A 192.0.2.530\n"
	for _, step := range []struct {
		what       string
		a, b, kid  string
		broken     error // of kid.a.example, found by somebody else
		answers    [3]string
		faults     int
		firstFault string
	}{
		{
			"one is bad from the start", smallZone, smallZone, bad, nil,
			[3]string{"192.0.2.53", "192.0.2.53", "SERVFAIL"},
			1, "zones/kid.a.example:3:17: A record: \"192.0.2.530\" is no address for it",
		},
		{"it is mended", smallZone, smallZone, smallZone, nil, [3]string{"192.0.2.53", "192.0.2.53", "192.0.2.53"}, 0, ""},
		{
			"two go bad, the third changes", bad, strings.ReplaceAll(smallZone, ".53", ".54"), bad, nil,
			[3]string{"192.0.2.53", "192.0.2.54", "192.0.2.53"},
			2, "zones/a.example:3:17",
		},
		{
			"mended again, but for what the folder's reader says", smallZone, smallZone, "", errors.New("no such luck"),
			[3]string{"192.0.2.53", "192.0.2.53", "192.0.2.53"},
			1, "no such luck",
		},
	} {
		kid := zoneSource("kid.a.example", step.kid)
		kid.Broken = step.broken
		if err := s.Apply(Config{Zones: []ZoneSource{zoneSource("a.example", step.a), zoneSource("b.example", step.b), kid}}); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := [3]string{says(t, s, "a.example"), says(t, s, "b.example"), says(t, s, "kid.a.example")}; got != step.answers {
			t.Errorf("%s: answers %v, want %v", step.what, got, step.answers)
		}
		faults := s.ZoneFaults()
		if len(faults) != step.faults || step.faults > 0 && !strings.Contains(faults[0].Err.Error(), step.firstFault) {
			t.Errorf("%s: faults %v, want %d, first %q", step.what, faults, step.faults, step.firstFault)
		}
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if got := f.GetMetric()[0].GetGauge().GetValue(); f.GetName() == "dnsd_zones_faulty" && got != float64(step.faults) {
				t.Errorf("%s: dnsd_zones_faulty is %v", step.what, got)
			}
		}
	}
}

// A server of which nothing is right does not start.
func TestNothingButBadZones(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Apply(Config{Zones: []ZoneSource{zoneSource("b1.example", ""), zoneSource("b2.example", "")}})
	if err == nil || !strings.Contains(err.Error(), "zones/b1.example: zone") || !strings.Contains(err.Error(), "zones/b2.example: zone") {
		t.Errorf("error %v, want both named", err)
	}
}

// A reload costs what has changed.
func TestReloadKeepsWhatIsTheSame(t *testing.T) {
	s := testServer(t)
	before := s.state.Load().config
	conf := testConfig(t)
	conf.Zones = append(conf.Zones, zoneSource("new.example", smallZone))
	if err := s.Apply(conf); err != nil {
		t.Fatal(err)
	}
	after := s.state.Load().config
	if before.zones.Find("shop.example.") != after.zones.Find("shop.example.") {
		t.Error("a zone that is the same was made anew")
	}
	if says(t, s, "new.example") != "192.0.2.53" {
		t.Error("the new zone is not served")
	}
}
