// Package site models one customer: its hosts and how they are steered, its origins and its cache rules.
// A Site is immutable once Parse has returned it, with every default filled in.
package site

import (
	"net/netip"
	"net/url"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// Steer says how a host's addresses are chosen.
type Steer string

// The ways of steering.
const (
	Geo      Steer = "geo"      // the POP nearest to the client that is up, then the next
	Anycast  Steer = "anycast"  // always the shared web addresses: BGP decides
	Weighted Steer = "weighted" // by the targets' weights
	Pinned   Steer = "pinned"   // the first target or POP that is up
)

// Site is one customer.
type Site struct {
	Name    string // the file's base name
	Hosts   []*Host
	Origins []Origin
	Cache   Cache
	TLS     []TLS // none: it is not served over HTTPS
}

// Host is one name of the site. It lies in a zone that we serve; steering only overlays that zone.
type Host struct {
	Name    string // fully qualified, lower case, no final dot
	Steer   Steer
	TTL     time.Duration // default 20 s, for anycast 300 s
	Targets []*Target     // empty: steered among our POPs

	POPs     []Share  // the POPs it is steered to, in file order; empty: all
	Nearest  int      // how many of the nearest an answer of geo names; 1 by default
	Fallback []string // POPs or targets that are answered only when no other is up, best first
	Closed   bool     // `fail: closed`: with everything down nothing is answered rather than what may be dead
}

// Share is a POP's part in a host's steering.
type Share struct {
	Name   string
	Weight int // -1: by the POP's capacity
}

// Target is a place of the customer's own that a host may be steered to: addresses or a CNAME.
type Target struct {
	Name      string
	At        string         // IATA code; empty if only Regions say where it is
	Place     topology.Place // what At stands for
	Regions   []string       // continents (AF AN AS EU NA OC SA) or countries; a code that is both is the continent
	Addresses []netip.Addr   // or
	CNAME     string         // fully qualified, lower case, no final dot
	Weight    int            // default 1; 0 takes it out
	Probe     string         // URL that must answer 2xx, with {address} for each address; empty: not probed
}

// Origin is where the site's content comes from.
type Origin struct {
	URL    *url.URL
	Weight int  // default 1
	Backup bool // asked only when no other answers
}

// Cache says how the site's answers are keyed and kept.
type Cache struct {
	Key   Key
	Stale Stale
	Rules []Rule // first match wins; without a match the origin's headers decide
	// Vary are the request fields, in lower case, by which answers may differ and still be stored; nil: any.
	Vary []string
	// ObeyClients lets requests ask for fresh answers (`no-cache`, `max-age` and the like, RFC 9111 §5.2.1): any client
	// can send any request to the origin then.
	ObeyClients bool
}

// Key says which parts of a URL count.
type Key struct {
	KeepQuery []string // globs of the parameter names that count; empty: all
	DropQuery []string // globs of parameter names that do not count
	Unsorted  bool     // the order of parameters counts
	Scheme    string   // "http" or "https": requests of both count, and go to the origin, as of this one; "": they are two
}

// Stale says how long a stale answer may be used where the origin does not say (RFC 5861).
type Stale struct {
	IfError         time.Duration
	WhileRevalidate time.Duration
}

// Rule overrides the origin's headers for the paths that it matches.
type Rule struct {
	Path  string        // glob: `*` matches any run of characters, slashes too
	Never bool          // `store: never`
	TTL   time.Duration // 0: not set
}

// Host returns the host of that name (lower case, no final dot), or nil.
func (s *Site) Host(name string) *Host {
	for _, h := range s.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}
