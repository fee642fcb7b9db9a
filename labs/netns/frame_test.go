//go:build linux

package netns

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// packet writes an Ethernet frame with an IP header of the given family, protocol and ports.
func packet(v6 bool, proto byte, from, to uint16) []byte {
	f := make([]byte, 12)
	if v6 {
		f = binary.BigEndian.AppendUint16(f, 0x86dd)
		ip := make([]byte, 40)
		ip[0], ip[6] = 6<<4, proto
		f = append(f, ip...)
	} else {
		f = binary.BigEndian.AppendUint16(f, 0x0800)
		ip := make([]byte, 24)
		ip[0], ip[9] = 4<<4|6, proto // with one word of options
		f = append(f, ip...)
	}
	f = binary.BigEndian.AppendUint16(f, from)
	return append(binary.BigEndian.AppendUint16(f, to), 0, 0, 0, 0)
}

func TestWhatAFrameCarries(t *testing.T) {
	const tcp, udp, icmp = 6, 17, 1
	for _, tt := range []struct {
		name            string
		frame           []byte
		gossip, routing bool
	}{
		{"gossip inside a POP", packet(false, udp, 40000, 7946), true, false},
		{"gossip of the fleet, its answer, IPv6", packet(true, tcp, 7947, 40000), true, false},
		{"BGP", packet(false, tcp, 179, 40000), false, true},
		{"BGP, the other way, IPv6", packet(true, tcp, 40000, 179), false, true},
		{"port 179 of another protocol", packet(false, udp, 179, 179), false, false},
		{"HTTP", packet(false, tcp, 40000, 80), false, false},
		{"no ports", packet(false, icmp, 7946, 179), false, false},
		{"cut short", packet(false, tcp, 7946, 179)[:37], false, false},
		{"not IP", make([]byte, 60), false, false},
		{"empty", nil, false, false},
	} {
		if g, r := gossip(tt.frame), routing(tt.frame); g != tt.gossip || r != tt.routing {
			t.Errorf("%s: gossip %v, routing %v", tt.name, g, r)
		}
	}
}

func FuzzPorts(f *testing.F) {
	f.Add(packet(false, 6, 179, 1))
	f.Add(packet(true, 17, 7946, 1)[:50])
	f.Fuzz(func(_ *testing.T, frame []byte) { ports(frame) })
}

func TestCaptureIsPcap(t *testing.T) {
	packets := make(chan captured, 2)
	at := time.Unix(1700000000, 42)
	packets <- captured{at, []byte("first")}
	packets <- captured{at.Add(time.Second), []byte("second one")}
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- writePcap(ctx, &out, packets) }()
	for len(packets) > 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b := out.Bytes()
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	if len(b) < 24+16+5 || word(0) != 0xa1b23c4d || word(20) != 1 {
		t.Fatalf("header of %d bytes: % x", len(b), b)
	}
	if word(24) != 1700000000 || word(28) != 42 || word(32) != 5 || word(36) != 5 || string(b[40:45]) != "first" {
		t.Errorf("first packet: % x", b[24:45])
	}
}

// What faults do to links and nodes adds up on the wires that they touch, and heal takes away its own part alone.
func TestDamageBecomesRules(t *testing.T) {
	topo, err := topology.Parse("topology.yaml", []byte(`
asn: 64500
anycast: {prefixes: [192.0.2.0/24], dns: [192.0.2.53], web: [192.0.2.80]}
pops: {ams: {at: AMS, unicast: [203.0.113.0/28], nodes: 2}}
internet:
  networks: {arc: {asn: 64496, at: FRA}, bolt: {asn: 64497, at: FRA}}
  links:
    ams -> arc: {delay: 3ms, loss: 10%, jitter: 1ms, rate: 10Mbit/s}
    arc -- bolt: {delay: 5ms}
`))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := layout.New(topo)
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{topo: topo, plan: plan, damage: damage{links: map[*topology.Link]linkDamage{}, nodes: map[string]labs.Verb{}}}
	for _, w := range plan.Wires {
		made := &wire{plan: w}
		made.rules.Store(l.rulesOf(w))
		l.wires = append(l.wires, made)
	}
	if r := l.wires[0].rules.Load(); r.delay != 3*time.Millisecond || r.jitter != time.Millisecond || r.rate != 10e6 || r.loss < 0.099 || r.loss > 0.101 || r.silent || r.mute {
		t.Errorf("as declared: %+v", r)
	}
	do := func(f labs.Fault) {
		t.Helper()
		var err error
		if f.Verb == labs.Partition || f.Verb == labs.Mute {
			err = l.hurtNodes(f)
		} else {
			err = l.hurtLink(f)
		}
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
	}
	do(labs.Fault{Verb: labs.Slow, Subject: "arc -> ams", Arg: "200ms"})
	do(labs.Fault{Verb: labs.Lossy, Subject: "ams -> arc", Arg: "50%"})
	for _, w := range l.wires[:2] { // both nodes of the POP
		if r := w.rules.Load(); r.delay != 203*time.Millisecond || r.loss < 0.549 || r.loss > 0.551 {
			t.Errorf("slow and lossy: %+v", r)
		}
	}
	do(labs.Fault{Verb: labs.Mute, Subject: "ams2"})
	do(labs.Fault{Verb: labs.Blackhole, Subject: "arc -- bolt"})
	if a, b, c := l.wires[0].rules.Load(), l.wires[1].rules.Load(), l.wires[2].rules.Load(); a.mute || !b.mute || b.silent || !c.silent {
		t.Errorf("mute of a node, blackhole of a link: %+v %+v %+v", a, b, c)
	}
	do(labs.Fault{Verb: labs.Partition, Subject: "ams"})
	if a, b := l.wires[0].rules.Load(), l.wires[1].rules.Load(); !a.silent || !b.silent {
		t.Errorf("partition of a POP: %+v %+v", a, b)
	}
	if err := l.heal(t.Context(), "ams -> arc"); err != nil {
		t.Fatal(err)
	}
	if r := l.wires[0].rules.Load(); r.delay != 3*time.Millisecond || !r.silent {
		t.Errorf("the link healed, the POP not: %+v", r)
	}
	for _, bad := range []labs.Fault{
		{Verb: labs.Slow, Subject: "ams -> arc", Arg: "much"},
		{Verb: labs.Lossy, Subject: "ams -> arc", Arg: "200%"},
		{Verb: labs.Lossy, Subject: "ams -> arc", Arg: "0.5"},
		{Verb: labs.Cut, Subject: "ams -> bolt"},
	} {
		if err := l.hurtLink(bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
