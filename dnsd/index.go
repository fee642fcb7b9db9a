package dnsd

import (
	"hash/maphash"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/wire"
	"github.com/catchment-net/catchment/dnsd/zone"
)

// index finds what a query is about by the bytes of its name, and keeps answers packed. Its zones and names are
// immutable; the answers come in as they are first asked for, at most one for each type in quick and each set of POPs.
type index struct {
	zones nameTable[zoneIndex]
	seed  maphash.Seed
}

// zoneIndex is one zone. It hangs on the *zone.Zone, so it outlives reloads that leave the zone as it is.
type zoneIndex struct {
	zone     *zone.Zone
	number   int // the metrics' number
	names    nameTable[nameIndex]
	nodata   atomic.Pointer[body]
	nxdomain atomic.Pointer[body]

	mu   sync.Mutex // guards pool
	pool map[string]*body
}

// maxPool is how many different answers a zone shares among its names; then it starts anew.
const maxPool = 4096

// same returns a body that is equal to b in all that is sent, and may be packed already for another name: where many
// names lead to the same addresses, few lines of cache hold all their answers.
func (zx *zoneIndex) same(b *body) *body {
	if len(b.moves) > 0 || b.far != nil {
		return b
	}
	key := string(b.appendKey(nil))
	zx.mu.Lock()
	defer zx.mu.Unlock()
	if other := zx.pool[key]; other != nil {
		return other
	}
	if len(zx.pool) >= maxPool || zx.pool == nil {
		zx.pool = map[string]*body{}
	}
	zx.pool[key] = b
	return b
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

	number uint64 // tells it from other names in the rate limit

	// What is packed: for A and AAAA what is the same for everybody, and what is steered; then all else, as a list.
	fixed   [2]atomic.Pointer[body]
	steer   [2]atomic.Pointer[steered]
	answers atomic.Pointer[answers]
}

// quick are the types that the fast path answers, in the order of the bits of a typeSet. The others are rare, or their
// answers have rules of their own (DS, RRSIG, ANY).
var quick = [...]uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeTXT,
	dns.TypeSRV, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeCAA, dns.TypeTLSA, dns.TypeNAPTR,
}

// typeSet is a set of quick types.
type typeSet uint16

// quickAAAA is the bit of AAAA; A's is below it, all others are above.
const quickAAAA = 2

// quickBit is 0 for a type that is not in quick. A test holds it against quick: a search there costs 20 ns for each query.
func quickBit(qtype uint16) typeSet {
	switch qtype {
	case dns.TypeA:
		return 1 << 0
	case dns.TypeAAAA:
		return 1 << 1
	case dns.TypeNS:
		return 1 << 2
	case dns.TypeCNAME:
		return 1 << 3
	case dns.TypeSOA:
		return 1 << 4
	case dns.TypePTR:
		return 1 << 5
	case dns.TypeMX:
		return 1 << 6
	case dns.TypeTXT:
		return 1 << 7
	case dns.TypeSRV:
		return 1 << 8
	case dns.TypeHTTPS:
		return 1 << 9
	case dns.TypeSVCB:
		return 1 << 10
	case dns.TypeCAA:
		return 1 << 11
	case dns.TypeTLSA:
		return 1 << 12
	case dns.TypeNAPTR:
		return 1 << 13
	}
	return 0
}

// newIndex builds the index of a set. It takes over from old, which may be nil, what belongs to zones that are the same.
func newIndex(set *zone.Set, old *index, number func(origin string) int) *index {
	x := &index{seed: maphash.MakeSeed()}
	if old != nil {
		x.seed = old.seed
	}
	x.zones = newNameTable[zoneIndex](set.Len())
	set.Zones(func(z *zone.Zone) {
		runtime.Gosched() // for queries, as in addZones
		origin, err := wire.AppendName(nil, z.Origin())
		if err != nil {
			return // a zone whose name has no wire form is asked for by nobody
		}
		if old != nil {
			if zx := old.zones.get(origin); zx != nil && zx.zone == z {
				x.zones.put(origin, zx)
				return
			}
		}
		x.zones.put(origin, indexZone(z, origin, number(z.Origin()), x.seed))
	})
	return x
}

func indexZone(z *zone.Zone, origin []byte, number int, seed maphash.Seed) *zoneIndex {
	n := 0
	z.Walk(func(string, zone.Node) { n++ })
	zx := &zoneIndex{zone: z, number: number, names: newNameTable[nameIndex](n)}
	z.Walk(func(owner string, n zone.Node) {
		name, err := wire.AppendName(nil, owner)
		if err != nil {
			return
		}
		x := &nameIndex{cut: n.Cut, steered: n.Steered, wildcard: strings.HasPrefix(owner, "*."), number: maphash.Bytes(seed, name)}
		for _, t := range n.Types {
			x.types |= quickBit(t)
			x.dname = x.dname || t == dns.TypeDNAME
		}
		x.alias = x.types&quickBit(dns.TypeCNAME) != 0
		zx.names.put(name, x)
	})
	zx.names.each(func(name []byte, x *nameIndex) { zx.link(name, x, len(origin)) })
	return zx
}

// link finds what lies above a name and what wildcard is below it.
func (zx *zoneIndex) link(name []byte, x *nameIndex, origin int) {
	if len(name)+2 <= wire.MaxName {
		x.wild = zx.names.get(append([]byte("\x01*"), name...))
	}
	for at := name; len(at) >= origin; at = wire.Parent(at) {
		if n := zx.names.get(at); n != nil && (n.cut || n.dname && len(at) < len(name)) {
			x.top = n
		}
		if at[0] == 0 {
			return
		}
	}
}

// find returns the deepest zone that the name lies in, or nil.
func (x *index) find(s *suffixes) *zoneIndex {
	for i := range s.n {
		if z := x.zones.find(s, i); z != nil {
			return z
		}
	}
	return nil
}

// find returns the deepest name of the zone at or above the one asked for.
func (zx *zoneIndex) find(s *suffixes) (at *nameIndex, exact bool) {
	for i := range s.n {
		if n := zx.names.find(s, i); n != nil {
			return n, i == 0
		}
	}
	return nil, false
}
