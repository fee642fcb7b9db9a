package geodata

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
)

// Rule is one operator's word on where the clients of a network go, or what measurements say of it.
type Rule struct {
	Prefix netip.Prefix // not valid: a rule for ASN
	ASN    uint32       // 0: a rule for Prefix
	To     []string     // names of POPs or targets, best first
	Why    string       // the row's comment
	File   string       // where it was read
	Line   int

	Measured bool          // it is a measurement
	RTT      time.Duration // of the best; 0: not known
}

// Subject is whom the rule is for: a network or an AS.
func (r *Rule) Subject() string {
	if r.ASN != 0 {
		return fmt.Sprintf("AS%d", r.ASN)
	}
	return r.Prefix.String()
}

// Where is the rule's place in its file, as FILE:LINE.
func (r *Rule) Where() string { return fmt.Sprintf("%s:%d", r.File, r.Line) }

// Rules are what overlays the databases. The zero value says nothing. They must not be changed after their first use.
type Rules struct {
	Prefixes []*Rule // of nested prefixes the longest counts
	ASNs     []*Rule
	Measured []*Rule // one row a prefix; of nested prefixes the longest counts
}

// Names lists the POPs and targets that rules and measurements name, each with one of its rows.
func (r *Rules) Names() map[string]*Rule {
	names := map[string]*Rule{}
	for _, rules := range [][]*Rule{r.Measured, r.ASNs, r.Prefixes} {
		for _, one := range rules {
			for _, name := range one.To {
				names[name] = one
			}
		}
	}
	return names
}

// ReadRules reads an operator's rules: lines `PREFIX,NAME…` and `ASNUMBER,NAME…`, best name first. What follows a `#` is a
// comment, and the rule's reason. Mistakes are recorded in doc.
func ReadRules(doc *conf.Doc, text []byte) (out Rules) {
	seen := map[string]*Rule{}
	eachRow(doc, text, func(r *Rule, fields []string) *mistake {
		if len(fields) < 2 {
			return &mistake{fmt.Sprintf("%q says nothing of where to", fields[0]), "PREFIX,POP or AS64500,POP, with more POPs behind it for the order"}
		}
		if slices.Contains(fields[1:], "") {
			return &mistake{"an empty name", "POPs or targets, separated by single commas"}
		}
		r.To = fields[1:]
		var wrong *mistake
		if number, ok := asNumber(fields[0]); ok {
			r.ASN = number
		} else if r.Prefix, wrong = rulePrefix(fields[0]); wrong != nil {
			return wrong
		}
		subject := r.Subject()
		if first := seen[subject]; first != nil {
			return &mistake{fmt.Sprintf("%s has a rule already, in line %d", subject, first.Line), "one of them"}
		}
		seen[subject] = r
		if r.ASN != 0 {
			out.ASNs = append(out.ASNs, r)
		} else {
			out.Prefixes = append(out.Prefixes, r)
		}
		return nil
	})
	return out
}

// ReadMeasured reads measurements: lines `PREFIX,NAME[,RTT]`, several for one prefix. The lowest RTT is best; rows without
// one stand behind, as in the file. An RTT is a number of milliseconds or a duration (12ms). Mistakes are recorded in
// doc.
func ReadMeasured(doc *conf.Doc, text []byte) (out Rules) {
	rows := map[netip.Prefix][]*Rule{} // each with one name
	var order []netip.Prefix
	eachRow(doc, text, func(r *Rule, fields []string) *mistake {
		if len(fields) < 2 || len(fields) > 3 || fields[1] == "" {
			return &mistake{fmt.Sprintf("%d fields", len(fields)), "PREFIX,POP or PREFIX,POP,RTT"}
		}
		prefix, wrong := rulePrefix(fields[0])
		if wrong != nil {
			return wrong
		}
		r.Prefix, r.To, r.Measured = prefix, fields[1:2], true
		if len(fields) == 3 {
			if r.RTT, wrong = parseRTT(fields[2]); wrong != nil {
				return wrong
			}
		}
		for _, other := range rows[prefix] {
			if other.To[0] == fields[1] {
				return &mistake{fmt.Sprintf("%v to %q was measured in line %d already", prefix, fields[1], other.Line), "one row"}
			}
		}
		if rows[prefix] == nil {
			order = append(order, prefix)
		}
		rows[prefix] = append(rows[prefix], r)
		return nil
	})
	for _, prefix := range order {
		of := rows[prefix]
		slices.SortStableFunc(of, func(a, b *Rule) int { return cmp.Compare(rank(a.RTT), rank(b.RTT)) })
		best := of[0]
		for _, r := range of[1:] {
			best.To = append(best.To, r.To...)
		}
		out.Measured = append(out.Measured, best)
	}
	return out
}

// rank puts what was not timed behind all that was.
func rank(rtt time.Duration) time.Duration { return cmp.Or(rtt, maxRTT) }

// maxRTT is what no packet takes; more is a mistake in the unit.
const maxRTT = time.Minute

func parseRTT(s string) (time.Duration, *mistake) {
	if ms, err := strconv.ParseFloat(s, 64); err == nil && ms > 0 && ms < maxRTT.Seconds()*1000 {
		return time.Duration(ms * float64(time.Millisecond)), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 && d < maxRTT {
		return d, nil
	}
	return 0, &mistake{fmt.Sprintf("round-trip time %q", s), fmt.Sprintf("milliseconds (12.5) or a duration (12ms), above 0 and below %v", maxRTT)}
}

// mistake is what is wrong with a row, and what would be right.
type mistake struct{ what, fix string }

func asNumber(s string) (uint32, bool) {
	if len(s) < 3 || !strings.EqualFold(s[:2], "AS") {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:], 10, 32)
	return uint32(n), err == nil && n > 0 && n != otherASN
}

func rulePrefix(s string) (netip.Prefix, *mistake) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return p, &mistake{fmt.Sprintf("%q is no network", s), "192.0.2.0/24, 2001:db8::/32 or AS64500"}
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return p, &mistake{fmt.Sprintf("%q is an IPv4 network written as IPv6", s), "it as 192.0.2.0/24"}
	}
	if p != p.Masked() {
		return p, &mistake{fmt.Sprintf("%q has host bits set", s), fmt.Sprintf("did you mean %v?", p.Masked())}
	}
	return p, nil
}

// eachRow splits a file of comma-separated rows with comments.
func eachRow(doc *conf.Doc, text []byte, fn func(r *Rule, fields []string) *mistake) {
	line := 0
	for raw := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
		line++
		data, comment, _ := strings.Cut(string(raw), "#")
		if data = strings.TrimSpace(data); data == "" {
			continue
		}
		fields := strings.Split(data, ",")
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		if wrong := fn(&Rule{Why: strings.TrimSpace(comment), File: doc.File(), Line: line}, fields); wrong != nil {
			fix := wrong.fix
			if !strings.HasPrefix(fix, "did you mean") {
				fix = "want " + fix
			}
			doc.Fail(line, 0, wrong.what, fix)
		}
	}
}
