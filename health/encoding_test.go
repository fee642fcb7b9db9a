package health_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/catchment-net/catchment/health"
)

// largeRecord is of a node that observes so many POPs, all failing with a long text.
func largeRecord(pops int) health.Record {
	r := health.Record{
		Node: "amsterdam1", Incarnation: 1767323045000000000, Seq: 123456, Draining: true, Why: strings.Repeat("kernel ", 20),
		Progress: health.Progress{Step: health.StepGSHUT, Since: epoch, Requests: 12345, Kept: true},
		Services: map[health.Service]health.ServiceView{},
	}
	for _, p := range []string{"192.0.2.0/24", "198.51.100.0/24", "2001:db8:53::/48", "2001:db8:54::/48"} {
		r.Claims = append(r.Claims, netip.MustParsePrefix(p))
	}
	for _, s := range health.Services {
		r.Services[s] = health.ServiceView{State: health.Down, Cause: health.Cause{
			Class: health.Hard, Since: epoch, Text: strings.Repeat("no answer within 80ms ", 8),
		}, Suspect: s == health.DNS}
	}
	for i := range 8 {
		r.Receipts = append(r.Receipts, health.Receipt{Node: fmt.Sprintf("frankfurt%02d", i), Incarnation: 1767323045000000000, Seq: 123456})
	}
	for i := range pops {
		for _, s := range health.Services {
			r.Observed = append(r.Observed, health.Observation{
				POP: fmt.Sprintf("frankfurt%02d", i), Service: s, Age: 499 * time.Millisecond, Text: strings.Repeat("no route to host ", 8),
			})
		}
	}
	return r
}

func TestRecordFitsADatagram(t *testing.T) {
	r := largeRecord(12)
	wire, err := r.MarshalBinary()
	if err != nil || len(wire) > health.MaxRecord {
		t.Fatalf("12 POPs observed, 4 prefixes, long reasons: got %d bytes, %v; want at most %d", len(wire), err, health.MaxRecord)
	}
	var got health.Record
	if err := got.UnmarshalBinary(wire); err != nil {
		t.Fatal(err)
	}
	// Only texts were shortened.
	shorter := cmp.FilterPath(func(p cmp.Path) bool {
		last := p.Last().String()
		return last == ".Text" || last == ".Why"
	}, cmp.Comparer(func(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }))
	if diff := cmp.Diff(r, got, shorter, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	if _, err := largeRecord(100).MarshalBinary(); err == nil {
		t.Error("100 POPs observed by one node: got no error")
	}
}

func TestRecordsThatAreRefused(t *testing.T) {
	good, err := largeRecord(2).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what string
		wire []byte
		want string
	}{
		{"nothing", nil, "cut short"},
		{"another version", append([]byte{1}, good[1:]...), "version 1: want 2"},
		{"an unknown flag", append([]byte{2, 0x80}, good[2:]...), "impossible"},
		{"kept without a step", append([]byte{2, 4}, good[2:]...), "impossible"},
		{"a byte too many", append(bytes.Clone(good), 0), "impossible"},
		{"a byte too few", good[:len(good)-1], "cut short"},
		{"a name without end", []byte{2, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, "impossible"},
	} {
		kept := health.Record{Node: "kept"}
		if err := kept.UnmarshalBinary(tt.wire); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.what, err, tt.want)
		}
		if kept.Node != "kept" {
			t.Errorf("%s: the record was changed", tt.what)
		}
	}
	for _, r := range []health.Record{
		{Node: strings.Repeat("x", 65)},
		{Node: "a", Claims: make([]netip.Prefix, 1)},
		{Node: "a", Observed: []health.Observation{{POP: "b", Service: "ftp"}}},
		{Node: "a", Services: map[health.Service]health.ServiceView{"ftp": {}}},
	} {
		if _, err := r.MarshalBinary(); err == nil {
			t.Errorf("%+v: encoded without an error", r)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range []health.Record{{}, largeRecord(0), largeRecord(3), {Node: "a", Claims: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}} {
		wire, err := r.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		var r health.Record
		if r.UnmarshalBinary(wire) != nil {
			return
		}
		again, err := r.MarshalBinary()
		if err != nil {
			return // too large, or not one of ours
		}
		var second health.Record
		if err := second.UnmarshalBinary(again); err != nil {
			t.Fatalf("what we encoded does not decode: %v", err)
		}
		third, err := second.MarshalBinary()
		if err != nil || !bytes.Equal(again, third) {
			t.Errorf("encoding is not stable: %x, then %x (%v)", again, third, err)
		}
	})
}
