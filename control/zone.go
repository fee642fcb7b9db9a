package control

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/internal/master"
)

// zoneFacts is what Warn asks of a zone. They are never changed: Snapshots share them.
type zoneFacts struct {
	records int
	servers []string                // apex NS targets, lower case, with final dot
	addrs   map[string][]netip.Addr // addresses of every owner in the zone
	cnames  map[string]bool
	cuts    map[string][]string // owners of NS below the apex, with the servers, as servers above
}

// originOf is the zone that a file in zones/ holds: the one that it is named after.
func originOf(base string) string { return dns.Fqdn(strings.ToLower(base)) }

// readZone reads a master file as far as it must be right for a name server to load it.
func readZone(doc *conf.Doc, origin string, text []byte) (Zone, bool) {
	z := Zone{Origin: origin, File: doc.File(), Text: text}
	z.facts = zoneFacts{addrs: map[string][]netip.Addr{}, cnames: map[string]bool{}, cuts: map[string][]string{}}
	if why := conf.HostFault(strings.TrimSuffix(origin, ".")); why != "" && strings.Contains(origin[:len(origin)-1], ".") {
		doc.Fail(0, 0, fmt.Sprintf("the file's name %q %s", path.Base(doc.File()), why), "name it after its zone: zones/shop.example")
		return z, false
	}
	master.Read(doc, origin, text, master.Options{}, z.note)
	return z, doc.Err() == nil
}

// note takes one record into the zone's facts.
func (z *Zone) note(rr dns.RR) {
	owner, f := rr.Header().Name, &z.facts
	f.records++
	switch rr := rr.(type) {
	case *dns.NS:
		if owner == z.Origin {
			f.servers = append(f.servers, strings.ToLower(rr.Ns))
		} else {
			f.cuts[owner] = append(f.cuts[owner], strings.ToLower(rr.Ns))
		}
	case *dns.A:
		f.addr(owner, rr.A)
	case *dns.AAAA:
		f.addr(owner, rr.AAAA)
	case *dns.CNAME:
		f.cnames[owner] = true
	}
}

func (f *zoneFacts) addr(owner string, ip []byte) {
	if a, ok := netip.AddrFromSlice(ip); ok {
		f.addrs[owner] = append(f.addrs[owner], a.Unmap())
	}
}
