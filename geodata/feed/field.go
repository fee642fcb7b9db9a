package feed

import (
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"

	"github.com/catchment-net/catchment/topology"
)

func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is no network; want one like 192.0.2.0/24 or 2001:db8::/32", s)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has host bits set; did you mean %v?", s, p.Masked())
	}
	return p, nil
}

// bounds reads a range's two ends: addresses, or decimal numbers, which are IPv4 if both fit. IPv4 inside IPv6
// (::ffff:0:0/96) is IPv4.
func bounds(start, end string) (first, last netip.Addr, err error) {
	last, err = bound(end, false)
	if err != nil {
		return first, last, err
	}
	first, err = bound(start, last.Is6() && isNumber(end))
	if err != nil {
		return first, last, err
	}
	if first.Is4In6() && last.Is4In6() {
		first, last = first.Unmap(), last.Unmap()
	}
	if first.BitLen() != last.BitLen() || last.Less(first) {
		return first, last, fmt.Errorf("range %s to %s; want two addresses of one family, the lower one first", start, end)
	}
	return first, last, nil
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func bound(s string, wide bool) (netip.Addr, error) {
	if !isNumber(s) {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return a, fmt.Errorf("%q is no address; want one like 192.0.2.1 or 2001:db8::1, or it as a decimal number", s)
		}
		return a, nil
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil && !wide {
		return v4(uint32(n)), nil
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.BitLen() > 128 {
		return netip.Addr{}, fmt.Errorf("%.50q is no address: it has more than 128 bits", s)
	}
	var b [16]byte
	n.FillBytes(b[:])
	return netip.AddrFrom16(b), nil
}

// countryCode reads an ISO 3166-1 alpha-2 code. "", "-", "ZZ" and "None" stand for "not known" in the feeds.
func countryCode(s string) (string, error) {
	switch s {
	case "", "-", "ZZ", "None":
		return "", nil
	}
	if len(s) != 2 || !letter(s[0]) || !letter(s[1]) {
		return "", fmt.Errorf("country %.40q; want two letters (ISO 3166-1), such as DE", s)
	}
	return strings.ToUpper(s), nil
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func continentCode(s string) (string, error) {
	switch s {
	case "", "-", "ZZ":
		return "", nil
	}
	for _, c := range topology.Continents() {
		if strings.EqualFold(s, c) {
			return c, nil
		}
	}
	return "", fmt.Errorf("continent %.40q; want one of %s", s, strings.Join(topology.Continents(), " "))
}

func parseASN(s string) (uint32, error) {
	digits := s
	if len(s) > 2 && strings.EqualFold(s[:2], "AS") {
		digits = s[2:]
	}
	if digits == "" || digits == "-" {
		return 0, nil
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("AS number %.40q; want one up to 4294967295, such as 64500", s)
	}
	return uint32(n), nil
}

// degrees reads a coordinate; none is not known.
func degrees(what, s string, most float64) (v float64, ok bool, err error) {
	if s == "" || s == "-" {
		return 0, false, nil
	}
	v, err = strconv.ParseFloat(s, 64)
	if err != nil || !(v >= -most && v <= most) {
		return 0, false, fmt.Errorf("%s %.40q; want degrees from %g to %g", what, s, -most, most)
	}
	return v, true, nil
}
