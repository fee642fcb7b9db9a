package topology_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/topology"
)

const drained = `asn: 64500
anycast: {prefixes: [192.0.2.0/24]}
pops: {ams: {at: AMS, unicast: [203.0.113.0/28]}}
`

func TestDrain(t *testing.T) {
	standard := topology.Drain{DNS: 300 * time.Millisecond, Min: 300 * time.Millisecond, Quiet: time.Second, Max: 30 * time.Second, AtOnce: 1}
	with := func(change func(*topology.Drain)) topology.Drain {
		d := standard
		change(&d)
		return d
	}
	for _, test := range []struct {
		name, text string
		want       topology.Drain
	}{
		{"nothing said", "", standard},
		{"times", "drain: {dns: 1ms, min: 0.5s, quiet: 2s, max: 1m}", with(func(d *topology.Drain) {
			d.DNS, d.Min, d.Quiet, d.Max = time.Millisecond, 500*time.Millisecond, 2*time.Second, time.Minute
		})},
		{"prepend", "drain: {prepend: 3, at_once: 2}", with(func(d *topology.Drain) { d.Prepend, d.AtOnce = 3, 2 })},
		{"communities", `drain: {communities: ["64496:120", "4200000000:1:2"]}`, with(func(d *topology.Drain) {
			d.Communities, d.LargeCommunities = []uint32{64496<<16 | 120}, [][3]uint32{{4200000000, 1, 2}}
		})},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := topology.Parse("t.yaml", []byte(drained+test.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Drain); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDrainMistakes(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"drain: {quiet: 0s}", "t.yaml:4:16: quiet 0s is out of range; write one from 1ms to 1h"},
		{"drain: {quiet: 5s, max: 2s}", "t.yaml:4:25: max 2s is shorter than min 300ms or quiet 5s"},
		{"drain: {prepend: 11}", "t.yaml:4:18: prepend"},
		{"drain: {at_once: 0}", "t.yaml:4:18: at_once"},
		{"drain: {silence: 1s}", `t.yaml:4:9: unknown key "silence"`},
		{`drain: {communities: ["64496"]}`, `t.yaml:4:23: community "64496" cannot be read; write "64496:120"`},
		{`drain: {communities: ["70000:1"]}`, `community "70000:1" cannot be read`},
		{`drain: {communities: ["1:2:3:4"]}`, `community "1:2:3:4" cannot be read`},
		{`drain: {communities: [{}]}`, "t.yaml:4:23"},
	} {
		_, err := topology.Parse("t.yaml", []byte(drained+test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", test.text, err, test.want)
		}
	}
}
