// Package master reads master files (RFC 1035 §5) strictly: what no name server should load is reported, all of it at
// once, each mistake at its line with what would be right. It is pure.
package master

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/conf"
)

// The limits of one zone.
const (
	MaxRecords = 2_000_000 // records; $GENERATE makes 65,536 of one line
	maxTTL     = 1<<31 - 1 // seconds, RFC 2181 §8
)

// Options says what a file may leave out.
type Options struct {
	DefaultTTL uint32 // seconds, of a record without a TTL before any $TTL; 0: that is a mistake
	MaxRecords int    // 0: MaxRecords
}

// Read reads the text as the zone of that origin (lower case, with the final dot) and hands each record to each, its
// owner in Canonical form. Mistakes go to doc; if there are any, what each was given is not a zone. Records that are
// there twice are handed on twice.
func Read(doc *conf.Doc, origin string, text []byte, o Options, each func(dns.RR)) {
	if o.MaxRecords == 0 {
		o.MaxRecords = MaxRecords
	}
	text = generateTTL(text)
	counter := &lineReader{text: text}
	p := dns.NewZoneParser(counter, origin, "")
	if o.DefaultTTL > 0 {
		p.SetDefaultTTL(o.DefaultTTL)
	}
	c := check{doc: doc, origin: origin, owners: map[string]owner{}}
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rr.Header().Name = Canonical(rr.Header().Name)
		c.record(rr, counter.line())
		if c.records > o.MaxRecords {
			doc.Fail(counter.line(), 0, fmt.Sprintf("more than %d records", o.MaxRecords), "split the zone, or make the ranges of $GENERATE smaller")
			return
		}
		each(rr)
	}
	if err := p.Err(); err != nil {
		if line := fail(doc, err); line > 0 && len(text) <= conf.MaxBytes {
			furtherFaults(doc, origin, text, line)
		}
		return
	}
	c.whole()
}

// Canonical is the form in which names are compared: lower case, final dot, and no needless escapes.
func Canonical(name string) string {
	if !strings.Contains(name, `\`) {
		return dns.CanonicalName(name)
	}
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(dns.Fqdn(name), buf, 0, nil, false)
	if err != nil {
		return dns.CanonicalName(name)
	}
	plain, _, err := dns.UnpackDomainName(buf[:n], 0)
	if err != nil {
		return dns.CanonicalName(name)
	}
	return dns.CanonicalName(plain)
}
