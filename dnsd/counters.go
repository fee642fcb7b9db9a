package dnsd

import (
	"sync"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/rrl"
)

// The limits of labels in metrics.
const (
	maxZoneLabels  = 1000 // zones with a count of their own; the others share "other"
	maxSteerLabels = 1000 // POPs with a count of their own; the others share "other"
	transports     = 2    // UDP and TCP
	countedRcodes  = 11
)

// rcodeNumber is the place of a response code among rcodeLabels.
func rcodeNumber(rcode int) int {
	switch {
	case rcode >= dns.RcodeSuccess && rcode <= dns.RcodeYXDomain:
		return rcode
	case rcode == dns.RcodeNotAuth:
		return 7
	case rcode == dns.RcodeBadVers:
		return 8
	case rcode == dns.RcodeBadCookie:
		return 9
	}
	return countedRcodes - 1
}

// rcodeLabels has the names in the order of rcodeNumber; 16 is BADSIG in a TSIG record, so the library's names will not do.
func rcodeLabels() [countedRcodes]string {
	return [countedRcodes]string{
		"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "NOTAUTH", "BADVERS", "BADCOOKIE", "other",
	}
}

// tally is what there is to count of one packet.
type tally struct {
	body      *body // what was answered; nil: nothing
	tcp       bool
	client    bool // it came to an anycast address
	slow      bool // the answer was made anew
	truncated bool
	cookie    bool // it proved its sender's address
	verdict   rrl.Verdict
}

// counters are what one reader of packets, or the TCP connections of all, count. The lock is taken once for each batch of
// packets, and by the metrics when they are read: no two readers wait for one line of cache.
type counters struct {
	mu sync.Mutex // guards totals
	totals
	_ [64]byte // keeps the next reader's counters out of our last line of cache
}

type totals struct {
	queries   [transports][countedRcodes]uint64
	zones     [maxZoneLabels]uint64
	steered   [maxSteerLabels]uint64
	limited   [3]uint64 // by rrl.Verdict
	slow      uint64
	dropped   uint64 // no queries
	truncated uint64
	cookies   uint64
	clients   uint64
	last      int64 // the time of the latest client's query in nanoseconds since 1970; 0: none yet
}

// add counts a packet that came at a time in nanoseconds since 1970. The lock must be held.
func (c *totals) add(t *tally, now int64) {
	if t.client {
		c.clients++
		c.last = now
	}
	if t.slow {
		c.slow++
	}
	if t.cookie {
		c.cookies++
	}
	if t.verdict != rrl.Send {
		c.limited[t.verdict]++
	}
	b := t.body
	if b == nil {
		if t.verdict == rrl.Send {
			c.dropped++
		}
		return
	}
	transport := 0
	if t.tcp {
		transport = 1
	}
	c.queries[transport][rcodeNumber(int(b.rcode))]++
	if t.truncated {
		c.truncated++
	}
	if b.zone > 0 {
		c.zones[b.zone-1]++
	}
	if b.chosen > 0 {
		c.steered[b.chosen-1]++
	}
}

// merge adds another reader's totals.
func (c *totals) merge(o *totals) {
	for t := range o.queries {
		for i, n := range o.queries[t] {
			c.queries[t][i] += n
		}
	}
	for i, n := range o.zones {
		c.zones[i] += n
	}
	for i, n := range o.steered {
		c.steered[i] += n
	}
	for i, n := range o.limited {
		c.limited[i] += n
	}
	c.slow += o.slow
	c.dropped += o.dropped
	c.truncated += o.truncated
	c.cookies += o.cookies
	c.clients += o.clients
	c.last = max(c.last, o.last)
}
