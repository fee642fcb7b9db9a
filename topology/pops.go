package topology

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
)

// maxNodes is how many nodes one POP may have.
const maxNodes = 64

// pops reads all POPs in the order of the file: a POP's place there is its number everywhere.
func (r *reader) pops(v conf.Value) {
	entries := v.Entries()
	if v.Exists() && (v.IsNull() || v.IsMap()) && len(entries) == 0 {
		v.Fail("no POP", "write at least one: `ams: {at: AMS, unicast: [203.0.113.0/28]}`")
	}
	if len(entries) > MaxPOPs {
		v.Fail(fmt.Sprintf("%d POPs", len(entries)), fmt.Sprintf("at most %d are supported", MaxPOPs))
		entries = entries[:MaxPOPs]
	}
	for _, e := range entries { // names first: a node may not take the name of a later POP
		r.name("pop", e.Key)
	}
	for _, e := range entries {
		p := &POP{Name: e.Key.Text(), Index: len(r.t.POPs)}
		r.pop(p, e)
		r.t.POPs = append(r.t.POPs, p)
	}
}

func (r *reader) pop(p *POP, e conf.Entry) {
	f := e.Value.Fields("at", "unicast", "nodes", "capacity", "shield", "neighbors")
	p.At = readPlace(f.Need("at", "write where it is: an IATA city code such as AMS, or {lat, lon, country, city}"))
	unicast := f.Need("unicast", "write the prefix that reaches this POP alone: `unicast: [203.0.113.0/28]`")
	for _, item := range unicast.Items() {
		prefix := item.Prefix()
		if !prefix.IsValid() {
			continue
		}
		r.claim(prefix, fmt.Sprintf("pop %q", p.Name), item)
		same := func(q netip.Prefix) bool { return q.Addr().Is4() == prefix.Addr().Is4() }
		if slices.ContainsFunc(p.Unicast, same) {
			item.Fail(fmt.Sprintf("a second %s unicast prefix", family(prefix.Addr())), "keep one of each family")
			continue
		}
		p.Unicast = append(p.Unicast, prefix)
	}
	if unicast.Exists() && len(unicast.Items()) == 0 {
		unicast.Fail("no unicast prefix", "write at least one: [203.0.113.0/28]")
	}
	p.Capacity = f.Get("capacity").Rate()
	p.Shield = f.Get("shield").Exists() && f.Get("shield").Bool()
	r.nodes(p, e.Key, f.Get("nodes"))
	r.addresses(p, unicast)
	p.Neighbors = r.neighbors(f.Get("neighbors"))
	for _, n := range p.Neighbors {
		if n.Local.IsValid() && len(p.Nodes) > 1 {
			local := f.Get("neighbors").Lookup(n.Name, "local")
			local.Fail(fmt.Sprintf("neighbor %q has one local address for %d nodes", n.Name, len(p.Nodes)), "leave `local` out: each node then uses the address that its routes choose")
		}
	}
}

// nodes reads `nodes: 2` or `nodes: {ams1: {capacity: 5k/s}}`; without it there is one node, named after its POP.
func (r *reader) nodes(p *POP, key, v conf.Value) {
	count := 1
	switch {
	case v.IsMap():
		for _, e := range v.Entries() {
			f := e.Value.Fields("capacity")
			name, _ := r.name("node", e.Key)
			p.Nodes = append(p.Nodes, &Node{Name: name, POP: p, Capacity: f.Get("capacity").Rate()})
		}
		if len(p.Nodes) == 0 {
			v.Fail("no node", "write a number or one line per node, or leave `nodes` out for one")
		}
		if len(p.Nodes) > maxNodes {
			v.Fail(fmt.Sprintf("%d nodes", len(p.Nodes)), fmt.Sprintf("at most %d are supported in one POP", maxNodes))
		}
		shareCapacity(p)
		return
	case v.IsList():
		v.Fail(`"nodes" is a list`, "write a number, or a map of names: {ams1: {}, ams2: {}}")
	case v.Exists():
		count = v.Int(1, maxNodes)
	}
	for i := range count {
		name := fmt.Sprintf("%s%d", p.Name, i+1)
		if before, ok := r.names[name]; ok {
			key.Fail(fmt.Sprintf("node %q of pop %q has the name of the %s at %s", name, p.Name, before.kind, before.at.Pos()),
				"rename one of them, or name the nodes in `nodes: {…}`")
		} else {
			r.names[name] = named{"node", key}
		}
		p.Nodes = append(p.Nodes, &Node{Name: name, POP: p})
	}
	shareCapacity(p)
}

// shareCapacity gives what the named nodes leave of a POP's capacity to the others in equal parts; a POP that says
// nothing has the sum of its nodes.
func shareCapacity(p *POP) {
	var given float64
	silent := 0
	for _, n := range p.Nodes {
		given += n.Capacity
		if n.Capacity == 0 {
			silent++
		}
	}
	switch {
	case p.Capacity == 0 && silent == 0:
		p.Capacity = given
	case p.Capacity > given && silent > 0:
		share := (p.Capacity - given) / float64(silent)
		for _, n := range p.Nodes {
			if n.Capacity == 0 {
				n.Capacity = share
			}
		}
	}
}

// addresses gives node i the host i+1 of each unicast prefix.
func (r *reader) addresses(p *POP, v conf.Value) {
	for i, prefix := range p.Unicast {
		free := hosts(prefix)
		if free < float64(len(p.Nodes)) {
			at := v
			if items := v.Items(); i < len(items) {
				at = items[i]
			}
			at.Fail(fmt.Sprintf("unicast prefix %s has room for %.0f of %d nodes", prefix, free, len(p.Nodes)),
				fmt.Sprintf("use a /%d or shorter", wide(prefix, len(p.Nodes))))
			continue
		}
		addr := prefix.Addr()
		for _, n := range p.Nodes {
			addr = addr.Next()
			n.Addrs = append(n.Addrs, addr)
		}
	}
}

// hosts counts the addresses that nodes can use: without the first, and in IPv4 without the last.
func hosts(p netip.Prefix) float64 {
	n := math.Exp2(float64(p.Addr().BitLen()-p.Bits())) - 1
	if p.Addr().Is4() {
		n--
	}
	return max(0, n)
}

// wide is the longest prefix length that holds n nodes.
func wide(p netip.Prefix, n int) int {
	for bits := p.Bits(); bits > 0; bits-- {
		if hosts(netip.PrefixFrom(p.Addr(), bits)) >= float64(n) {
			return bits
		}
	}
	return 0
}

// neighbors reads the routers that a fleet's POP speaks BGP to.
func (r *reader) neighbors(v conf.Value) []*Neighbor {
	var list []*Neighbor
	for _, e := range v.Entries() {
		f := e.Value.Fields("address", "asn", "local", "password", "ttl_security", "multihop", "hold", "keepalive", "max_prefixes",
			"prepend", "med", "communities", "no_export", "graceful_restart", "bfd")
		n := &Neighbor{
			Name:    e.Key.Text(),
			Address: f.Need("address", "write the router's address: `address: 198.18.0.1`").Addr(),
			ASN:     r.asn(f.Need("asn", "write the router's AS number")),
		}
		secret := f.Get("password").Secret()
		n.Password = Secret{File: secret.File, Env: secret.Env}
		if hold := f.Get("hold"); hold.Exists() {
			n.HoldTime = positive(hold, 3*time.Second, 65535*time.Second) // RFC 4271 §4.2
		}
		if bfd := f.Get("bfd"); bfd.Exists() {
			n.BFD = bfdInterval(bfd)
		}
		readSession(n, f)
		if n.BFD != 0 && n.Multihop != 0 {
			f.Get("bfd").Fail(fmt.Sprintf("neighbor %q has bfd and multihop", n.Name), "keep one: bfd watches a link of ours (RFC 5881)")
		}
		readExport(n, f)
		for _, other := range list {
			if n.Address.IsValid() && other.Address == n.Address {
				f.Get("address").Fail(fmt.Sprintf("neighbor %q has the address of %q", n.Name, other.Name), "give each session its own address")
			}
		}
		list = append(list, n)
	}
	return list
}

// bfdInterval reads how far apart BFD packets are. FRR and BIRD take whole milliseconds.
func bfdInterval(v conf.Value) time.Duration {
	d := positive(v, 10*time.Millisecond, 10*time.Second)
	if d%time.Millisecond != 0 {
		v.Fail(fmt.Sprintf("bfd %s is no whole number of milliseconds", conf.Span(d)), "write one such as 50ms")
	}
	return d
}

// readPlace reads an IATA code or {lat, lon, country, city}.
func readPlace(v conf.Value) Place {
	if v.IsMap() {
		return readPoint(v)
	}
	code := v.Word()
	if code == "" {
		return Place{}
	}
	if p, ok := City(code); ok {
		return p
	}
	fix := "write an IATA city code such as AMS, or {lat: 52.4, lon: 4.9, country: NL}"
	if _, ok := City(strings.ToUpper(code)); ok {
		fix = fmt.Sprintf("did you mean %s?", strings.ToUpper(code))
	} else if named := cityNamed(code); named != "" {
		fix = fmt.Sprintf("did you mean %s?", named)
	}
	v.Fail(fmt.Sprintf("place %q is not a city code that we know", code), fix)
	return Place{}
}

func readPoint(v conf.Value) Place {
	f := v.Fields("lat", "lon", "country", "city")
	p := Place{
		Lat:     f.Need("lat", "write degrees north: `lat: 52.4`").Float(-90, 90),
		Lon:     f.Need("lon", "write degrees east: `lon: 4.9`").Float(-180, 180),
		Country: f.Need("country", "write the ISO 3166 code: `country: NL`").Word(),
		City:    f.Get("city").Word(),
	}
	if p.Country == "" {
		return p
	}
	continent, ok := ContinentOf(p.Country)
	if !ok {
		fix := "write the two capital letters of ISO 3166: NL"
		if _, upper := ContinentOf(strings.ToUpper(p.Country)); upper {
			fix = fmt.Sprintf("did you mean %s?", strings.ToUpper(p.Country))
		} else if p.Country == "UK" {
			fix = "did you mean GB?"
		}
		f.Get("country").Fail(fmt.Sprintf("country %q is unknown", p.Country), fix)
	}
	p.Continent = continent
	return p
}

// routerIDs gives each node its IPv4 address as BGP identifier, else a number made of its name (RFC 6286: any that is
// unique within the AS).
func (r *reader) routerIDs() {
	used := map[netip.Addr]bool{}
	for _, n := range r.t.Nodes() {
		for _, a := range n.Addrs {
			if a.Is4() {
				n.RouterID = a
				used[a] = true
			}
		}
	}
	for _, n := range r.t.Nodes() {
		for salt := 0; !n.RouterID.IsValid(); salt++ {
			h := fnv.New32a()
			fmt.Fprintf(h, "%s/%d", n.Name, salt)
			id := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, h.Sum32()|1)))
			if !used[id] {
				n.RouterID = id
				used[id] = true
			}
		}
	}
}

// ReadCity reads an IATA code as a topology's `at` does, for other files that name places; the zero Place if it is
// none, which is then recorded.
func ReadCity(v conf.Value) Place {
	if v.IsMap() {
		v.Fail(fmt.Sprintf("%q is a map", v.Name()), "write an IATA city code such as FRA")
		return Place{}
	}
	return readPlace(v)
}
