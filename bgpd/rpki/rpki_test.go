package rpki

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func vrp(prefix string, longest uint8, asn uint32) VRP {
	return VRP{Prefix: netip.MustParsePrefix(prefix), MaxLength: longest, ASN: asn}
}

func TestValidate(t *testing.T) {
	table := NewTable([]VRP{
		vrp("192.0.2.0/24", 24, 64500), vrp("198.51.100.0/22", 24, 64500), vrp("198.51.100.0/24", 24, 64501),
		vrp("203.0.113.0/24", 24, 0), vrp("2001:db8::/32", 48, 64500),
	})
	for _, test := range []struct {
		prefix string
		origin uint32
		want   State
	}{
		{"192.0.2.0/24", 64500, Valid},
		{"192.0.2.0/24", 64501, Invalid},    // another AS
		{"192.0.2.0/25", 64500, Invalid},    // longer than allowed
		{"192.0.0.0/16", 64500, NotFound},   // less specific than the ROA
		{"198.51.100.0/24", 64500, Valid},   // by one of two
		{"198.51.100.0/24", 64501, Valid},   // by the other
		{"198.51.101.0/24", 64501, Invalid}, // covered by the other's alone
		{"203.0.113.0/24", 0, Invalid},      // AS 0 is nobody
		{"2001:db8:53::/48", 64500, Valid},
		{"2001:db9::/48", 64500, NotFound},
	} {
		if got := table.Validate(netip.MustParsePrefix(test.prefix), test.origin); got != test.want {
			t.Errorf("%s from %d: %v, want %v", test.prefix, test.origin, got, test.want)
		}
	}
	if got := (*Table)(nil).Validate(netip.MustParsePrefix("192.0.2.0/24"), 64500); got != NotFound {
		t.Errorf("an empty table says %v", got)
	}
}

func drawVRP(t *rapid.T) VRP {
	size := rapid.SampledFrom([]int{4, 16}).Draw(t, "family")
	addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "addr"))
	bits := rapid.IntRange(0, addr.BitLen()).Draw(t, "bits")
	return VRP{
		Prefix:    netip.PrefixFrom(addr, bits).Masked(),
		MaxLength: uint8(rapid.IntRange(bits, addr.BitLen()).Draw(t, "longest")),
		ASN:       rapid.Uint32().Draw(t, "asn"),
	}
}

// One more VRP never makes a valid route less than valid, and the order of VRPs does not matter.
func TestMoreVRPsNeverTakeAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(drawVRP), 1, 8).Draw(t, "vrps")
		p, origin := all[0].Prefix, all[0].ASN
		before, after := NewTable(all[:len(all)-1]).Validate(p, origin), NewTable(all).Validate(p, origin)
		if before == Valid && after != Valid || before == Invalid && after == NotFound {
			t.Fatalf("%v became %v", before, after)
		}
		for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
			all[i], all[j] = all[j], all[i]
		}
		if got := NewTable(all).Validate(p, origin); got != after {
			t.Fatalf("%v in another order, %v before", got, after)
		}
	})
}

func drawPDU(t *rapid.T) pdu {
	p := pdu{
		version: uint8(rapid.IntRange(0, highestVersion).Draw(t, "version")),
		kind:    rapid.SampledFrom([]kind{serialNotify, serialQuery, resetQuery, cacheResponse, ipv4Prefix, endOfData, cacheReset, errorReport}).Draw(t, "kind"),
		session: rapid.Uint16().Draw(t, "session"),
	}
	seconds := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Uint32().Draw(t, "s")) * time.Second })
	switch p.kind {
	case serialNotify, serialQuery:
		p.serial = rapid.Uint32().Draw(t, "serial")
	case ipv4Prefix:
		p.announce, p.vrp = rapid.Bool().Draw(t, "announce"), drawVRP(t)
		if p.vrp.Prefix.Addr().Is6() {
			p.kind = ipv6Prefix
		}
	case endOfData:
		p.serial = rapid.Uint32().Draw(t, "serial")
		if p.version > 0 {
			p.refresh, p.retry, p.expire = seconds.Draw(t, "refresh"), seconds.Draw(t, "retry"), seconds.Draw(t, "expire")
		}
	case errorReport:
		p.text = rapid.StringN(0, 100, 400).Draw(t, "text")
	}
	return p
}

func TestPDUsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawPDU(t)
		r := bytes.NewReader(want.encode())
		got, err := readPDU(r)
		if err != nil || got != want || r.Len() != 0 {
			t.Fatalf("got %+v, %v with %d bytes left, want %+v", got, err, r.Len(), want)
		}
	})
}

// Whatever comes is refused or read, within its bounds, and what is read is written the same.
func FuzzReadPDU(f *testing.F) {
	for _, p := range []pdu{
		{version: 1, kind: cacheResponse, session: 7},
		{version: 1, kind: ipv4Prefix, announce: true, vrp: vrp("192.0.2.0/24", 24, 64500)},
		{kind: ipv6Prefix, vrp: vrp("2001:db8::/32", 48, 64500)},
		{version: 1, kind: endOfData, serial: 9, refresh: time.Hour},
		{version: 1, kind: errorReport, session: noDataAvailable, text: "later"},
		{kind: endOfData, serial: 1},
	} {
		f.Add(p.encode())
	}
	f.Add([]byte{1, 10, 0, 2, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readPDU(bytes.NewReader(b))
		if err != nil || p.kind == errorReport || p.kind == routerKey {
			return
		}
		again, err := readPDU(bytes.NewReader(p.encode()))
		if err != nil || again != p {
			t.Fatalf("%+v was read as %+v, %v", p, again, err)
		}
	})
}
