package dnsd

import (
	"hash/maphash"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/wire"
	"github.com/catchment-net/catchment/dnsd/zone"
)

// index finds what a query is about by the bytes of its name, and keeps answers packed. Its zones and names are
// immutable; the answers come in as they are first asked for, at most one for each type in quick and each set of POPs.
type index struct {
	zones   map[string]*zoneIndex // by the wire form of their names, lower case
	longest int                   // bytes of the longest zone's name
	seed    maphash.Seed
}

// zoneIndex is one zone. It hangs on the *zone.Zone, so it outlives reloads that leave the zone as it is.
type zoneIndex struct {
	zone     *zone.Zone
	number   int // the metrics' number
	names    map[string]*nameIndex
	longest  int // bytes of the longest name
	nodata   atomic.Pointer[body]
	nxdomain atomic.Pointer[body]
}

// nameIndex is one name of a zone.
type nameIndex struct {
	types    typeSet
	alias    bool // it has a CNAME
	dname    bool // what is below it moves elsewhere
	cut      bool // it and what is below it is delegated
	steered  bool // health and the client decide
	wildcard bool
	top      *nameIndex // the uppermost delegation or DNAME at or above it
	wild     *nameIndex // the wildcard below it
	answers  atomic.Pointer[[]*answers]
}

// quick are the types that the fast path answers, in the order of the bits of a typeSet. The others are rare, or their
// answers have rules of their own (DS, RRSIG, ANY).
var quick = [...]uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeTXT,
	dns.TypeSRV, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeCAA, dns.TypeTLSA, dns.TypeNAPTR,
}

// typeSet is a set of quick types.
type typeSet uint16

// quickBit is 0 for a type that is not in quick.
func quickBit(qtype uint16) typeSet {
	return typeSet(1) << (slices.Index(quick[:], qtype) + 1) >> 1
}

// newIndex builds the index of a set. It takes over from old, which may be nil, what belongs to zones that are the same.
func newIndex(set *zone.Set, old *index, number func(origin string) int) *index {
	x := &index{zones: make(map[string]*zoneIndex, set.Len())}
	if old != nil {
		x.seed = old.seed
	} else {
		x.seed = maphash.MakeSeed()
	}
	set.Zones(func(z *zone.Zone) {
		runtime.Gosched() // for queries, as in addZones
		origin, err := wire.AppendName(nil, z.Origin())
		if err != nil {
			return // a zone whose name has no wire form is asked for by nobody
		}
		x.longest = max(x.longest, len(origin))
		if old != nil {
			if zx := old.zones[string(origin)]; zx != nil && zx.zone == z {
				x.zones[string(origin)] = zx
				return
			}
		}
		x.zones[string(origin)] = indexZone(z, origin, number(z.Origin()))
	})
	return x
}

func indexZone(z *zone.Zone, origin []byte, number int) *zoneIndex {
	zx := &zoneIndex{zone: z, number: number, names: map[string]*nameIndex{}}
	z.Walk(func(owner string, n zone.Node) {
		name, err := wire.AppendName(nil, owner)
		if err != nil {
			return
		}
		x := &nameIndex{cut: n.Cut, steered: n.Steered, wildcard: strings.HasPrefix(owner, "*.")}
		for _, t := range n.Types {
			x.types |= quickBit(t)
			x.dname = x.dname || t == dns.TypeDNAME
		}
		x.alias = x.types&quickBit(dns.TypeCNAME) != 0
		zx.names[string(name)] = x
		zx.longest = max(zx.longest, len(name))
	})
	for name, x := range zx.names {
		zx.link([]byte(name), x, len(origin))
	}
	return zx
}

// link finds what lies above a name and what wildcard is below it.
func (zx *zoneIndex) link(name []byte, x *nameIndex, origin int) {
	if len(name)+2 <= wire.MaxName {
		x.wild = zx.names["\x01*"+string(name)]
	}
	for at := name; len(at) >= origin; at = wire.Parent(at) {
		if n := zx.names[string(at)]; n != nil && (n.cut || n.dname && len(at) < len(name)) {
			x.top = n
		}
		if at[0] == 0 {
			return
		}
	}
}

// find returns the deepest zone that the name lies in, or nil.
func (x *index) find(name []byte) *zoneIndex {
	for {
		if len(name) <= x.longest {
			if z := x.zones[string(name)]; z != nil {
				return z
			}
		}
		if name[0] == 0 {
			return nil
		}
		name = wire.Parent(name)
	}
}

// find returns the deepest name of the zone at or above the one asked for.
func (zx *zoneIndex) find(name []byte) (at *nameIndex, exact bool) {
	for rest := name; ; rest = wire.Parent(rest) {
		if len(rest) <= zx.longest {
			if n := zx.names[string(rest)]; n != nil {
				return n, len(rest) == len(name)
			}
		}
		if rest[0] == 0 {
			return nil, false
		}
	}
}
