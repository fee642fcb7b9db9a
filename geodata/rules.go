package geodata

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rule is one operator's word on where the clients of a network go, or what measurements say of it.
type Rule struct {
	Prefix netip.Prefix  // not valid: a rule for ASN
	ASN    uint32        // 0: a rule for Prefix
	To     []string      // names of POPs or targets, best first
	RTT    time.Duration // of the best, for measured rows; 0: not known
	Why    string        // the row's comment
	File   string        // where it was read
	Line   int
}

// Where is the rule's place in its file, as FILE:LINE.
func (r *Rule) Where() string { return fmt.Sprintf("%s:%d", r.File, r.Line) }

// Rules are what overlays the databases. The zero value says nothing. They must not be changed after their first use.
type Rules struct {
	Prefixes []*Rule // of nested prefixes the longest counts
	ASNs     []*Rule
	Measured []*Rule // one row a prefix; of nested prefixes the longest counts
}

// Add joins the rules of another file. Two rules for one prefix or ASN are an error that names both.
func (r *Rules) Add(other Rules) error {
	r.Prefixes = append(r.Prefixes, other.Prefixes...)
	r.ASNs = append(r.ASNs, other.ASNs...)
	r.Measured = append(r.Measured, other.Measured...)
	return errors.Join(twice(r.Prefixes), twice(r.ASNs), twice(r.Measured))
}

func (r *Rule) subject() string {
	if r.ASN != 0 {
		return fmt.Sprintf("AS%d", r.ASN)
	}
	return r.Prefix.String()
}

func twice(rules []*Rule) error {
	var errs []error
	seen := map[string]*Rule{}
	for _, r := range rules {
		s := r.subject()
		if first := seen[s]; first != nil {
			errs = append(errs, fmt.Errorf("%s: %s already has a row at %s; want one of them", r.Where(), s, first.Where()))
			continue
		}
		seen[s] = r
	}
	return errors.Join(errs...)
}

// ParseRules reads an operator's rules: lines `PREFIX,NAME…` and `ASNUMBER,NAME…`, best name first. What follows a `#` is a
// comment, and the rule's reason. All mistakes are reported, as file:line.
func ParseRules(file string, text []byte) (Rules, error) {
	var out Rules
	err := eachRow(file, text, func(r *Rule, fields []string) error {
		if len(fields) < 2 {
			return fmt.Errorf("%q says nothing of where to; want PREFIX,POP or AS64500,POP, with more POPs behind it for the order", fields[0])
		}
		if slices.Contains(fields[1:], "") {
			return errors.New("an empty name; want POPs or targets, separated by single commas")
		}
		r.To = fields[1:]
		if number, ok := asNumber(fields[0]); ok {
			r.ASN = number
			out.ASNs = append(out.ASNs, r)
			return nil
		}
		var err error
		if r.Prefix, err = rulePrefix(fields[0]); err != nil {
			return err
		}
		out.Prefixes = append(out.Prefixes, r)
		return nil
	})
	return out, errors.Join(err, twice(out.Prefixes), twice(out.ASNs))
}

// ParseMeasured reads measurements: lines `PREFIX,NAME[,RTT]`, several for one prefix. The lowest RTT is best; rows
// without one stand behind, as in the file. An RTT is a number of milliseconds or a duration (12ms).
func ParseMeasured(file string, text []byte) (Rules, error) {
	type row struct {
		*Rule
		name string
	}
	rows := map[netip.Prefix][]row{}
	var order []netip.Prefix
	err := eachRow(file, text, func(r *Rule, fields []string) error {
		if len(fields) < 2 || len(fields) > 3 || fields[1] == "" {
			return errors.New("want PREFIX,POP or PREFIX,POP,RTT")
		}
		prefix, err := rulePrefix(fields[0])
		if err != nil {
			return err
		}
		r.Prefix = prefix
		if len(fields) == 3 {
			if r.RTT, err = parseRTT(fields[2]); err != nil {
				return err
			}
		}
		for _, other := range rows[prefix] {
			if other.name == fields[1] {
				return fmt.Errorf("%v to %q was measured in line %d already; want one row", prefix, fields[1], other.Line)
			}
		}
		if rows[prefix] == nil {
			order = append(order, prefix)
		}
		rows[prefix] = append(rows[prefix], row{r, fields[1]})
		return nil
	})
	var out Rules
	for _, prefix := range order {
		of := rows[prefix]
		slices.SortStableFunc(of, func(a, b row) int {
			return cmp.Or(cmp.Compare(unknown(a.RTT), unknown(b.RTT)), cmp.Compare(a.RTT, b.RTT))
		})
		best := of[0].Rule
		for _, r := range of {
			best.To = append(best.To, r.name)
		}
		out.Measured = append(out.Measured, best)
	}
	return out, err
}

func unknown(rtt time.Duration) int {
	if rtt == 0 {
		return 1
	}
	return 0
}

func parseRTT(s string) (time.Duration, error) {
	if ms, err := strconv.ParseFloat(s, 64); err == nil && ms > 0 && ms < maxRTT.Seconds()*1000 {
		return time.Duration(ms * float64(time.Millisecond)), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 && d < maxRTT {
		return d, nil
	}
	return 0, fmt.Errorf("round-trip time %q; want milliseconds (12.5) or a duration (12ms), above 0 and below %v", s, maxRTT)
}

// maxRTT is what no packet takes; more is a mistake in the unit.
const maxRTT = time.Minute

func asNumber(s string) (uint32, bool) {
	if len(s) < 3 || !strings.EqualFold(s[:2], "AS") {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:], 10, 32)
	return uint32(n), err == nil && n > 0
}

func rulePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return p, fmt.Errorf("%q is no network; want 192.0.2.0/24, 2001:db8::/32 or AS64500", s)
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is an IPv4 network written as IPv6; want it as 192.0.2.0/24", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has host bits set; did you mean %v?", s, p.Masked())
	}
	return p, nil
}

// eachRow splits a file of comma-separated rows with comments.
func eachRow(file string, text []byte, fn func(r *Rule, fields []string) error) error {
	var errs []error
	line := 0
	for raw := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
		line++
		data, comment, _ := bytes.Cut(raw, []byte("#"))
		if data = bytes.TrimSpace(data); len(data) == 0 {
			continue
		}
		fields, err := csv.NewReader(bytes.NewReader(data)).Read()
		if err == nil || errors.Is(err, io.EOF) {
			for i := range fields {
				fields[i] = strings.TrimSpace(fields[i])
			}
			err = fn(&Rule{Why: string(bytes.TrimSpace(comment)), File: file, Line: line}, fields)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", file, line, err))
			if len(errs) == maxMistakes {
				errs = append(errs, fmt.Errorf("%s: and perhaps more; stopped after %d mistakes", file, maxMistakes))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// maxMistakes is how many mistakes of one file are told: a file of the wrong kind has one in each of a million lines.
const maxMistakes = 20
