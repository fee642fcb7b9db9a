package conformance

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// fields of an answer by name. A field that an answer lacks is the empty string.
type fields map[string]string

// The fields that are compared, the core first: what an answer means to a resolver.
var (
	core  = []string{"answered", "rcode", "aa", "answer"}
	extra = []string{"header", "tc", "question", "authority", "additional", "edns"}
)

// describe takes an answer apart. Records are sets: their order is free (RFC 2181 §5), and so is the case of names,
// which compression may take from anywhere, the client's question included.
func describe(packet []byte) fields {
	f := fields{"answered": "no"}
	if len(packet) < 12 {
		return f
	}
	f["answered"] = "yes"
	flags := binary.BigEndian.Uint16(packet[2:])
	f["aa"], f["tc"] = bit(flags, 10), bit(flags, 9)
	f["header"] = fmt.Sprintf("id=%d qr=%s opcode=%d rd=%s ra=%s z=%s ad=%s cd=%s", binary.BigEndian.Uint16(packet), bit(flags, 15), flags>>11&15,
		bit(flags, 8), bit(flags, 7), bit(flags, 6), bit(flags, 5), bit(flags, 4))
	rcode := int(flags & 15)
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		f["rcode"], f["answer"] = fmt.Sprint(rcode), "unreadable: "+err.Error()
		return f
	}
	if opt := m.IsEdns0(); opt != nil {
		rcode = m.Rcode
		f["edns"] = fmt.Sprintf("version=%d do=%t", opt.Version(), opt.Do())
	}
	f["rcode"] = dns.RcodeToString[rcode]
	for _, q := range m.Question {
		f["question"] += fmt.Sprintf("%s %d %d;", q.Name, q.Qclass, q.Qtype)
	}
	f["answer"], f["authority"], f["additional"] = set(m.Answer), set(m.Ns), set(m.Extra)
	return f
}

func bit(flags uint16, n int) string { return fmt.Sprint(flags >> n & 1) }

func set(rrs []dns.RR) string {
	var lines []string
	for _, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeOPT {
			continue
		}
		owner, data := rr.Header().String(), strings.TrimPrefix(rr.String(), rr.Header().String())
		switch rr.(type) {
		case *dns.NS, *dns.CNAME, *dns.DNAME, *dns.SOA, *dns.MX, *dns.PTR, *dns.SRV:
			data = strings.ToLower(data)
		}
		lines = append(lines, strings.Join(strings.Fields(strings.ToLower(owner)+data), " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// verdict says where we differ from what all peers say.
type verdict struct {
	agreed int      // fields in which the peers agree
	wrong  []string // of those, the ones in which we differ
}

// judge compares our answer with the peers', field by field: where they disagree among themselves we are free.
func judge(our fields, theirs []fields) verdict {
	var v verdict
	for _, name := range slices.Concat(core, extra) {
		if slices.ContainsFunc(theirs[1:], func(f fields) bool { return f[name] != theirs[0][name] }) {
			continue
		}
		v.agreed++
		if our[name] != theirs[0][name] {
			v.wrong = append(v.wrong, name)
		}
	}
	return v
}

// core reports whether we differ in what an answer means.
func (v verdict) core() bool {
	return slices.ContainsFunc(v.wrong, func(name string) bool { return slices.Contains(core, name) })
}
