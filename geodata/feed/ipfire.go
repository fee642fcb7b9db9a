package feed

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/catchment-net/catchment/geodata"
)

// readIPFire reads the text of `location dump`. Networks nest; the longest prefix is the one that counts, whole:
//
//	aut-num:  AS13335             net:       1.0.0.0/24
//	name:     CLOUDFLARENET       country:   AU
//	                              aut-num:   13335
//	                              is-anycast: yes
func (in *input) readIPFire(add emit) error {
	var prefix netip.Prefix
	var loc geodata.Location
	start := 0 // line of the block's `net`; 0: none
	flush := func() error {
		if start == 0 {
			return nil
		}
		r := geodata.RangeOf(prefix, loc)
		r.Line = start
		start, loc = 0, geodata.Location{}
		return in.mistake(r.Line, add(r))
	}
	codes := map[string]string{} // countries seen, so that a million lines share 250 strings
	err := in.eachLine(func(line int, text []byte) error {
		key, value, ok := bytes.Cut(text, []byte(":"))
		if len(bytes.TrimSpace(text)) == 0 {
			return flush()
		}
		if text[0] == '#' {
			return nil
		}
		if !ok {
			return in.mistake(line, fmt.Errorf("%.60q is no `key: value`; want the text of `location dump`", text))
		}
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "net":
			if err := flush(); err != nil {
				return err
			}
			p, err := parsePrefix(string(value))
			if err != nil {
				return in.mistake(line, err)
			}
			prefix, start = p, line
		case "country":
			code, ok := codes[string(value)]
			if !ok {
				var err error
				if code, err = countryCode(string(value)); err != nil {
					return in.mistake(line, err)
				}
				codes[string(value)] = code
			}
			loc.Country = code
		case "aut-num":
			if start == 0 {
				return nil // the name of an AS
			}
			n, err := parseASN(string(value))
			if err != nil {
				return in.mistake(line, err)
			}
			loc.ASN = n
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	return in.result(err)
}
