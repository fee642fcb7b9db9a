package dnsd

import (
	"sync/atomic"

	"github.com/miekg/dns"
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

// counters are what one reader of packets counts. Only it writes them, so that no two cores wait for one line of cache;
// the metrics add all up when they are read.
type counters struct {
	queries   [transports][countedRcodes]atomic.Uint64
	zones     [maxZoneLabels]atomic.Uint64
	steered   [maxSteerLabels]atomic.Uint64
	slow      atomic.Uint64 // answers that were made anew
	dropped   atomic.Uint64
	truncated atomic.Uint64
	clients   atomic.Uint64 // queries on an anycast address
	last      atomic.Int64  // the time of the latest of them in nanoseconds since 1970; 0: none yet
	_         [64]byte      // keeps the next reader's counters out of our last line of cache
}

func (c *counters) answered(tcp bool, b *body, truncated bool) {
	transport := 0
	if tcp {
		transport = 1
	}
	c.queries[transport][rcodeNumber(b.rcode)].Add(1)
	if truncated {
		c.truncated.Add(1)
	}
	if b.zone > 0 {
		c.zones[b.zone-1].Add(1)
	}
	if b.chosen > 0 {
		c.steered[b.chosen-1].Add(1)
	}
}
