package control

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/conf"
)

// zoneFacts is what Warn asks of a zone.
type zoneFacts struct {
	records int
	servers []string                // apex NS targets, lower case, with final dot
	addrs   map[string][]netip.Addr // addresses of every owner in the zone
	cnames  map[string]bool
	cuts    map[string]bool // owners of NS below the apex
}

// originOf is the zone that a file in zones/ holds: the one that it is named after.
func originOf(base string) string { return dns.Fqdn(strings.ToLower(base)) }

// readZone reads a master file as far as it must be right for a name server to load it.
func readZone(doc *conf.Doc, origin string, text []byte) (Zone, bool) {
	z := Zone{Origin: origin, File: doc.File(), Text: text}
	z.facts = zoneFacts{addrs: map[string][]netip.Addr{}, cnames: map[string]bool{}, cuts: map[string]bool{}}
	if why := conf.HostFault(strings.TrimSuffix(origin, ".")); why != "" && strings.Contains(origin[:len(origin)-1], ".") {
		doc.Fail(0, 0, fmt.Sprintf("the file's name %q %s", path.Base(doc.File()), why), "name it after its zone: zones/shop.example")
		return z, false
	}
	counter := &lineReader{text: text}
	zp := dns.NewZoneParser(counter, z.Origin, "")
	c := zoneCheck{doc: doc, zone: &z, others: map[string]bool{}}
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		c.record(rr, counter.line())
	}
	if err := zp.Err(); err != nil {
		if line := failZone(doc, err); line > 0 && len(text) <= conf.MaxBytes {
			furtherFaults(doc, z.Origin, text, line)
		}
		return z, false
	}
	c.apex()
	return z, doc.Err() == nil
}

// maxZoneFaults is how many faults of one zone file are looked for: each one costs a pass over the file.
const maxZoneFaults = 20

// furtherFaults reports the faults behind the one at line, where the library stops: it blanks that line and parses
// again, as long as the line is a record of its own.
func furtherFaults(doc *conf.Doc, origin string, text []byte, line int) {
	lines := bytes.SplitAfter(bytes.Clone(text), []byte("\n"))
	for range maxZoneFaults {
		bad := lines[line-1]
		if bytes.ContainsAny(bad, "()\"") || bytes.HasPrefix(bad, []byte("$")) {
			return // blanking it would make faults that are none
		}
		lines[line-1] = []byte("\n")
		zp := dns.NewZoneParser(bytes.NewReader(bytes.Join(lines, nil)), origin, "")
		for _, ok := zp.Next(); ok; _, ok = zp.Next() {
		}
		err := zp.Err()
		if err == nil || strings.Contains(err.Error(), "missing TTL") {
			return
		}
		m := zoneError.FindStringSubmatch(err.Error())
		if m == nil {
			return
		}
		next, _ := strconv.Atoi(m[3])
		if next <= line || next > len(lines) {
			return
		}
		line = failZone(doc, err)
	}
}

// lineReader counts lines as the zone parser consumes bytes, one by one: the library tells no record's line.
type lineReader struct {
	text  []byte
	off   int
	lines int // newlines before the last byte read
}

// Read is there for the parser's argument type; the parser prefers ReadByte.
func (r *lineReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

// ReadByte implements io.ByteReader.
func (r *lineReader) ReadByte() (byte, error) {
	if r.off > 0 && r.off <= len(r.text) && r.text[r.off-1] == '\n' {
		r.lines++
	}
	if r.off >= len(r.text) {
		r.off = len(r.text) + 1
		return 0, io.EOF
	}
	r.off++
	return r.text[r.off-1], nil
}

// line is the line that holds the last byte read: that on which the last record ends.
func (r *lineReader) line() int {
	if r.off > len(r.text) && len(r.text) > 0 && r.text[len(r.text)-1] == '\n' {
		return r.lines
	}
	return r.lines + 1
}

// zoneCheck gathers a zone's facts and reports what no name server should load.
type zoneCheck struct {
	doc    *conf.Doc
	zone   *Zone
	soa    bool
	others map[string]bool // owners of anything but a CNAME
}

func (c *zoneCheck) record(rr dns.RR, line int) {
	owner, f := strings.ToLower(rr.Header().Name), &c.zone.facts
	f.records++
	if _, ok := rr.(*dns.SOA); ok {
		c.apexSOA(owner, line)
	}
	if !dns.IsSubDomain(c.zone.Origin, owner) {
		if rr.Header().Rrtype == dns.TypeSOA {
			return // said already
		}
		c.doc.Fail(line, 0, fmt.Sprintf("record of %q is outside the zone %s", owner, c.zone.Origin),
			"remove it, or write the name without the final dot if it is meant to lie inside")
		return
	}
	switch rr := rr.(type) {
	case *dns.NS:
		if owner == c.zone.Origin {
			f.servers = append(f.servers, strings.ToLower(rr.Ns))
		} else {
			f.cuts[owner] = true
		}
	case *dns.A:
		c.addr(owner, rr.A)
	case *dns.AAAA:
		c.addr(owner, rr.AAAA)
	case *dns.CNAME:
		if c.others[owner] || f.cnames[owner] {
			c.doc.Fail(line, 0, fmt.Sprintf("%q has a CNAME and other records", owner), "keep one of them: a CNAME stands alone (RFC 1034 §3.6.2)")
		}
		f.cnames[owner] = true
		return
	case *dns.RRSIG, *dns.NSEC: // may stand beside a CNAME (RFC 4034)
		return
	}
	if f.cnames[owner] {
		c.doc.Fail(line, 0, fmt.Sprintf("%q has a CNAME and other records", owner), "keep one of them: a CNAME stands alone (RFC 1034 §3.6.2)")
	}
	c.others[owner] = true
}

func (c *zoneCheck) apexSOA(owner string, line int) {
	switch {
	case owner != c.zone.Origin:
		c.doc.Fail(line, 0, fmt.Sprintf("the SOA is that of %q, but the file's name says %s", owner, c.zone.Origin),
			fmt.Sprintf("rename the file to %s/%s, or mend $ORIGIN", ZonesFolder, strings.TrimSuffix(owner, ".")))
	case c.soa:
		c.doc.Fail(line, 0, "a second SOA", "keep one: a zone has exactly one")
	}
	c.soa = true
}

func (c *zoneCheck) addr(owner string, ip []byte) {
	if a, ok := netip.AddrFromSlice(ip); ok {
		c.zone.facts.addrs[owner] = append(c.zone.facts.addrs[owner], a.Unmap())
	}
}

// apex reports what a zone must have.
func (c *zoneCheck) apex() {
	switch {
	case c.zone.facts.records == 0:
		c.doc.Fail(0, 0, fmt.Sprintf("zone %s has no records", c.zone.Origin), "begin with $TTL, an SOA and the NS records")
		return
	case !c.soa:
		c.doc.Fail(1, 0, fmt.Sprintf("zone %s has no SOA", c.zone.Origin),
			"add `@ SOA ns1 hostmaster 1 3600 600 1209600 60` as its first record")
	}
	if len(c.zone.facts.servers) == 0 {
		c.doc.Fail(1, 0, fmt.Sprintf("zone %s has no NS record", c.zone.Origin), "add `@ NS ns1` and an address for it")
	}
}

// zoneError is how the library writes: what, the token, where.
var (
	zoneError = regexp.MustCompile(`^dns: (.+): ("(?:[^"\\]|\\.)*") at line: (\d+):(\d+)$`)
	badField  = regexp.MustCompile(`^bad (\S+) (.+)$`)
)

// failZone records the library's error at its place, in words that someone who edits the file knows. It returns the
// line, 0 if the error names none.
func failZone(doc *conf.Doc, err error) int {
	m := zoneError.FindStringSubmatch(err.Error())
	if m == nil {
		doc.Fail(0, 0, "master file: "+strings.TrimPrefix(err.Error(), "dns: "), "mend the file (RFC 1035 §5)")
		return 0
	}
	line, _ := strconv.Atoi(m[3])
	col, _ := strconv.Atoi(m[4])
	what, fix := explainZone(m[1], m[2])
	doc.Fail(line, col, what, fix)
	return line
}

func explainZone(message, token string) (what, fix string) {
	const mend = "mend this record (RFC 1035 §5)"
	field := badField.FindStringSubmatch(message)
	switch {
	case strings.HasPrefix(message, "missing TTL"):
		return "the first record has no TTL", "begin the file with `$TTL 300`"
	case strings.HasPrefix(message, "$INCLUDE"):
		return "$INCLUDE is not followed", "write the records into this file: one zone is one file"
	case message == "not a TTL":
		return fmt.Sprintf("%s is neither a record type, a class nor a TTL", token), "write for example `www 300 IN A 192.0.2.80`"
	case field != nil && field[1] == "SOA":
		return fmt.Sprintf("SOA record: %s is not what belongs here", token),
			"write `@ SOA ns1 hostmaster SERIAL REFRESH RETRY EXPIRE MINIMUM`, and close a parenthesis"
	case field != nil && (field[1] == "A" || field[1] == "AAAA"):
		return fmt.Sprintf("%s record: %s is no address for it", field[1], token), "A takes an IPv4 address, AAAA an IPv6 address"
	case field != nil:
		return fmt.Sprintf("%s record: %s cannot be read as its %s", field[1], token, field[2]), mend
	}
	return fmt.Sprintf("master file: %s: %s", message, token), mend
}
