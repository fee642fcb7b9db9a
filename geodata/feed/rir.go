package feed

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/catchment-net/catchment/geodata"
)

// readRIR reads a registry's delegation file (the RIR statistics exchange format). For IPv4 the value is a number of
// addresses, which need not be a power of two; for IPv6 it is a prefix length.
//
//	2|ripencc|1667080799|…                                       version
//	ripencc|*|ipv4|*|80000|summary                               summary
//	ripencc|DE|ipv4|192.0.2.0|256|20010101|allocated[|…]         registry, country, type, start, value, date, status
func (in *input) readRIR(add emit) error {
	err := in.eachLine(func(line int, text []byte) error {
		f := bytes.Split(bytes.TrimSpace(text), []byte("|"))
		switch {
		case len(f[0]) == 0 || f[0][0] == '#' || f[0][0] >= '0' && f[0][0] <= '9': // comment, version
			return nil
		case len(f) == 6 && string(f[5]) == "summary":
			return nil
		case len(f) < 7:
			return in.mistake(line, fmt.Errorf("%d fields; want REGISTRY|COUNTRY|TYPE|START|VALUE|DATE|STATUS", len(f)))
		}
		if status := string(f[6]); status != "allocated" && status != "assigned" {
			return nil
		}
		r, ok, err := delegation(string(f[2]), string(f[3]), string(f[4]))
		if err == nil && ok {
			r.Country, err = countryCode(string(f[1]))
		}
		if err != nil || !ok {
			return in.mistake(line, err)
		}
		r.Line = line
		return in.mistake(line, add(r))
	})
	return in.result(err)
}

// delegation is the range of a row; not ok for one of an AS number.
func delegation(kind, start, value string) (r geodata.Range, ok bool, err error) {
	if kind == "asn" {
		return r, false, nil
	}
	a, err := netip.ParseAddr(start)
	if err != nil || a.Zone() != "" {
		return r, false, fmt.Errorf("start %q; want an address", start)
	}
	n, err := strconv.ParseUint(value, 10, 32)
	switch {
	case kind == "ipv4" && a.Is4() && err == nil && n > 0:
		b := a.As4()
		last := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3]) + n - 1
		if last > 1<<32-1 {
			return r, false, fmt.Errorf("%s addresses from %s on; there are not as many", value, start)
		}
		return geodata.Range{First: a, Last: v4(uint32(last))}, true, nil
	case kind == "ipv6" && a.Is6() && err == nil && n <= 128:
		p := netip.PrefixFrom(a, int(n))
		if p != p.Masked() {
			return r, false, fmt.Errorf("%v has host bits set; did you mean %v?", p, p.Masked())
		}
		return geodata.RangeOf(p, geodata.Location{}), true, nil
	}
	return r, false, fmt.Errorf("type %q from %q, value %q; want ipv4 and a number of addresses, or ipv6 and a prefix length", kind, start, value)
}
