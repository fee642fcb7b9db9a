package topology

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Overlaps are found by one pass over the sorted prefixes: it must see what comparing all pairs sees.
func TestOverlapsProperty(t *testing.T) {
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		if rapid.Bool().Draw(t, "v6") {
			a := [16]byte{0x20, 0x01, 0x0d, 0xb8, rapid.ByteRange(0, 3).Draw(t, "a"), rapid.ByteRange(0, 3).Draw(t, "b") << 6}
			return netip.PrefixFrom(netip.AddrFrom16(a), rapid.IntRange(36, 48).Draw(t, "bits")).Masked()
		}
		a := [4]byte{10, rapid.ByteRange(0, 3).Draw(t, "a"), rapid.ByteRange(0, 3).Draw(t, "b") << 6, 0}
		return netip.PrefixFrom(netip.AddrFrom4(a), rapid.IntRange(12, 24).Draw(t, "bits")).Masked()
	})
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(prefix, 1, 8).Draw(t, "prefixes")
		var text strings.Builder
		text.WriteString("asn: 64500\nanycast: {prefixes: [192.0.2.0/24]}\npops: {ams: {at: AMS, unicast: [203.0.113.0/28]}}\ninternet:\n  networks:\n")
		for i, p := range list {
			fmt.Fprintf(&text, "    n%d: {asn: %d, at: FRA, prefixes: [%s]}\n", i, 100+i, p)
		}
		wrong := map[int]bool{} // networks that share addresses with another
		for i, p := range list {
			for j, q := range list {
				if i != j && p.Overlaps(q) {
					wrong[i] = true
				}
			}
		}
		_, err := Parse("f", []byte(text.String()))
		if (err != nil) != (len(wrong) > 0) {
			t.Fatalf("prefixes %v: got %v, want an error: %v", list, err, len(wrong) > 0)
		}
		for i := range list {
			if wrong[i] != (err != nil && strings.Contains(err.Error(), fmt.Sprintf("network \"n%d\"", i))) {
				t.Fatalf("network n%d (%s) of %v: want named %v, got %v", i, list[i], list, wrong[i], err)
			}
		}
	})
}
