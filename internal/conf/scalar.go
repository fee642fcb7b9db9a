package conf

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Secret names where a secret is kept. At most one field is set; both are empty if the Value was absent or wrong.
type Secret struct{ File, Env string }

// Word is the scalar's text; anything but a scalar is reported.
func (v Value) Word() string {
	v.shape.scalar(ScalarShape{Kind: WordKind})
	s, _ := v.scalar("one word")
	return s
}

// scalar returns the text of a scalar; want says in a report what was expected.
func (v Value) scalar(want string) (string, bool) {
	if v.unreadable() {
		return "", false
	}
	if !v.IsScalar() {
		v.Fail(fmt.Sprintf("%s is %s", v.label(), v.kind()), "write "+want+", or leave the key out")
		return "", false
	}
	return v.node.Value, true
}

// bad reports a scalar that is not what it should be.
func (v Value) bad(why, fix string) {
	v.Fail(fmt.Sprintf("%s %q %s", cmpName(v.name), v.node.Value, why), fix)
}

// cmpName is a name for messages that begin with one.
func cmpName(name string) string {
	if name == "" {
		return "value"
	}
	return name
}

// Int reads a decimal integer between lo and hi, both included.
func (v Value) Int(lo, hi int) int {
	v.shape.scalar(ScalarShape{Kind: IntKind, Lo: float64(lo), Hi: float64(hi)})
	want := fmt.Sprintf("a whole number from %d to %d", lo, hi)
	s, ok := v.scalar(want)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil || s[0] == '+':
		v.bad("is not a whole number", "write one from "+fmt.Sprintf("%d to %d", lo, hi))
	case strings.TrimPrefix(s, "-")[0] == '0' && s != "0":
		v.bad("begins with 0", fmt.Sprintf("write %d", n))
	case n < lo || n > hi:
		v.bad("is out of range", "write "+want)
	default:
		return n
	}
	return 0
}

// Float reads a decimal number between lo and hi, both included.
func (v Value) Float(lo, hi float64) float64 {
	v.shape.scalar(ScalarShape{Kind: FloatKind, Lo: lo, Hi: hi})
	span := fmt.Sprintf("from %v to %v", lo, hi)
	if math.IsInf(hi, 1) {
		span = fmt.Sprintf("of at least %v", lo)
	}
	s, ok := v.scalar("a number " + span)
	if !ok {
		return 0
	}
	n, ok := decimal(s)
	switch {
	case !ok:
		v.bad("is not a number", "write one "+span)
	case n < lo || n > hi:
		v.bad("is out of range", "write a number "+span)
	default:
		return n
	}
	return 0
}

// decimal parses digits with at most one point and an optional sign: no exponent, no hexadecimal, no infinity.
func decimal(s string) (float64, bool) {
	if strings.Trim(s, "0123456789.-") != "" || strings.LastIndex(s, "-") > 0 {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil && !math.IsInf(n, 0)
}

// Bool reads `true` or `false`; YAML's other spellings (yes, on) are reported.
func (v Value) Bool() bool {
	v.shape.scalar(ScalarShape{Kind: BoolKind})
	s, ok := v.scalar("true or false")
	switch {
	case !ok:
	case s == "true":
		return true
	case s != "false":
		v.bad("is neither true nor false", "write true or false")
	}
	return false
}

// Enum reads one of the allowed words; another is reported with the likeliest one.
func (v Value) Enum(allowed ...string) string {
	v.shape.scalar(ScalarShape{Kind: EnumKind, Words: allowed})
	choice := strings.Join(allowed, ", ")
	if len(allowed) > 1 {
		choice = "one of " + choice
	}
	s, ok := v.scalar(choice)
	if !ok || slices.Contains(allowed, s) {
		return s
	}
	fix := "write " + choice
	if near := Nearest(s, allowed); near != "" {
		fix = fmt.Sprintf("did you mean %q?", near)
	}
	v.bad("is unknown", fix)
	return ""
}

// Prefix reads an IP prefix. Host bits are reported and then ignored; what is no prefix gives the invalid Prefix.
func (v Value) Prefix() netip.Prefix {
	v.shape.scalar(ScalarShape{Kind: PrefixKind})
	s, ok := v.scalar("a prefix such as 192.0.2.0/24")
	if !ok {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		fix := "write one such as 192.0.2.0/24 or 2001:db8::/48"
		if a, aerr := netip.ParseAddr(s); aerr == nil && a.Zone() == "" {
			v.bad("has no length", fmt.Sprintf("did you mean %s/%d?", a, a.BitLen()))
			return netip.Prefix{}
		}
		v.bad("is not a prefix", fix)
		return netip.Prefix{}
	}
	if p.Addr().Is4In6() {
		v.bad("is an IPv4 address in IPv6 form", "write it as IPv4")
		return netip.Prefix{}
	}
	if masked := p.Masked(); masked != p {
		v.bad("has host bits set", fmt.Sprintf("did you mean %s?", masked))
		return masked
	}
	return p
}

// Addr reads an IP address without zone.
func (v Value) Addr() netip.Addr {
	v.shape.scalar(ScalarShape{Kind: AddrKind})
	s, ok := v.scalar("an address such as 192.0.2.53")
	if !ok {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		if p, perr := netip.ParsePrefix(s); perr == nil {
			v.bad("is a prefix, not an address", fmt.Sprintf("did you mean %s?", p.Addr()))
			return netip.Addr{}
		}
		v.bad("is not an IP address", "write one such as 192.0.2.53 or 2001:db8::53")
	case a.Zone() != "":
		v.bad("has a zone", fmt.Sprintf("write %s", a.WithZone("")))
	case a.Is4In6():
		v.bad("is an IPv4 address in IPv6 form", fmt.Sprintf("write %s", a.Unmap()))
	default:
		return a
	}
	return netip.Addr{}
}

// Mask keeps a text that should not stand in the file out of excerpts.
func (v Value) Mask(secret string) {
	if v.doc != nil && secret != "" {
		v.doc.secrets = append(v.doc.secrets, secret)
	}
}

// Secret reads where a secret is kept: {file: PATH} or {env: NAME}. A secret that stands in the file itself is reported
// and masked in excerpts.
func (v Value) Secret() Secret {
	const fix = "name where it is kept: {file: secrets/name} or {env: NAME}"
	v.shape.fixed([]string{"file", "env"})
	if v.unreadable() {
		return Secret{}
	}
	if !v.IsMap() {
		if v.IsScalar() && v.node.Value != "" {
			v.Mask(v.node.Value)
		}
		v.Fail(fmt.Sprintf("%s is written into the file", v.label()), fix)
		return Secret{}
	}
	f := v.Fields("file", "env")
	s := Secret{File: f.Get("file").Word(), Env: f.Get("env").Word()}
	reported := f.Get("file").IsNull() || f.Get("env").IsNull()
	if (s.File == "") == (s.Env == "") && !reported {
		v.Fail(fmt.Sprintf("%s needs either a file or an env", v.label()), fix)
		return Secret{}
	}
	return s
}
