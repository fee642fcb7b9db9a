// Package topology models one anycast network: its prefixes, POPs and nodes, and, for labs and predictions, as much of
// the Internet around it as the file describes.
//
// A Topology is immutable once Parse has returned it. Everything that can be derived (node addresses, router ids,
// link delays, relations) is already filled in, so that no reader derives it twice.
package topology

import (
	"net/netip"
	"time"
)

// The well-known ports of a node (design §4).
const (
	PortDNS      = 53
	PortHTTP     = 80
	PortHTTPS    = 443
	PortBGP      = 179
	PortGossip   = 7946 // memberlist, the nodes of one POP
	PortFleet    = 7947 // memberlist, all nodes
	PortInternal = 7950 // tcp: HTTP between nodes under mutual TLS
)

// HealthPath is what a health probe asks popd for, on any host name; the answer is JSON and names node and state.
const HealthPath = "/.well-known/catchment/health"

// Topology is one network as topology.yaml describes it.
type Topology struct {
	Name     string // the folder's name; labels gossip and labs
	ASN      uint32
	Anycast  Anycast
	POPs     []*POP // in file order; a POP's index here is its number everywhere
	Health   Health
	BGP      BGP
	Drain    Drain
	Internet Internet
}

// The defaults of Anycast.
const (
	DefaultMinPOPs    = 1
	DefaultFlapBudget = 2000
)

// Anycast is what every healthy POP announces, and the service addresses within.
type Anycast struct {
	Prefixes []netip.Prefix
	DNS      []netip.Addr // the name servers' shared addresses
	Web      []netip.Addr // what a site steered by `anycast` answers

	// MinPOPs is how many other healthy POPs must announce a prefix before one that looks ill withdraws it; 1 by default.
	MinPOPs int
	// FlapBudget is the flap penalty (RFC 2439) that our own changes never bring a prefix to; 2000 by default, where
	// routers begin to suppress.
	FlapBudget int
}

// POP is a place with one or more nodes.
type POP struct {
	Name      string
	Index     int // in Topology.POPs
	At        Place
	Unicast   []netip.Prefix // reach this POP alone; at most one of each family
	Capacity  float64        // requests per second; 0 says unlimited
	Shield    bool
	Nodes     []*Node
	Neighbors []*Neighbor // a fleet's own routers; a lab derives its neighbours from Internet.Links
}

// Node is one machine of a POP.
type Node struct {
	Name     string // unique in the topology
	POP      *POP
	Addrs    []netip.Addr // one per unicast prefix of the POP, in the same order; node i takes host i+1
	Capacity float64      // requests per second, from the file or an equal share of the POP's; 0 says unlimited
	RouterID netip.Addr   // its IPv4 unicast address, else one derived from its name
}

// Neighbor is a router that the nodes of a POP speak BGP to.
type Neighbor struct {
	Name     string
	Address  netip.Addr
	ASN      uint32
	Local    netip.Addr // our end, which may be an address of the link; the zero Addr lets the kernel choose
	Password Secret
	HoldTime time.Duration // 0 means 9 s
	BFD      time.Duration // interval of BFD packets; 0 means no BFD

	Keepalive   time.Duration // 0 means a third of the hold time
	TTLSecurity bool          // GTSM (RFC 5082): it is on our link, and what comes from further away is dropped
	Multihop    int           // IP TTL towards a neighbour that is routers away; 0 means that it is on our link
	MaxPrefixes int           // of each family; more end the session for a while; 0 means any number

	Prepend          int // how often our ASN is added to the path towards it, at most 10
	MED              uint32
	Communities      []uint32 // added to our routes towards it (RFC 1997), NoExport included
	LargeCommunities [][3]uint32
}

// NoExport is the community that keeps a route within the neighbour's AS (RFC 1997).
const NoExport uint32 = 0xFFFFFF01

// BGP is how all nodes speak BGP, whoever the neighbour is.
type BGP struct {
	RPKI RPKI
	BMP  []string // HOST:PORT of collectors that hear of all sessions and routes (RFC 7854)
	MRT  MRT
}

// RPKI is where our own announcements are checked before they leave (RFC 6811).
type RPKI struct {
	Servers []string // HOST:PORT of RTR servers (RFC 8210), the preferred one first; none means no check
	Refuse  bool     // an invalid announcement is not made; false announces it and warns
}

// MRT is a file in which a node keeps what its neighbours send (RFC 6396).
type MRT struct {
	File   string        // 20060102.1504 in its name becomes the time at which the file began; empty keeps none
	Rotate time.Duration // when the next file begins; 0 means never
}

// Secret names where a secret is kept; its value is never in a topology. At most one field is set.
type Secret struct {
	File string `json:"file,omitempty"`
	Env  string `json:"env,omitempty"`
}

// Health is the timing of probes (design §5).
type Health struct {
	Interval time.Duration // between two probes of a local service; default 100 ms
	Timeout  time.Duration // for one answer; default 80 % of Interval
	Fall     int           // bad verdicts in a row that take a service down; default 3
	Rise     time.Duration // how long verdicts must be good before a fallen service counts again; default 10 s
}

// Internet is the world around the network, which only labs and predictions read.
type Internet struct {
	Router      string // Ours, FRR or BIRD: the software of the networks' routers where a runner has a choice
	Networks    []*Network
	Resolvers   []*Resolver
	NameServers []*NameServer
	Origins     []*Origin
	Links       []*Link
}

// The software that a runner with real hosts can put into a router's or a resolver's place. Ours is the default of both.
const (
	Ours    = "ours"
	FRR     = "frr"     // routers
	BIRD    = "bird"    // routers
	Unbound = "unbound" // resolvers
)

// Network is an AS other than ours. One with Users is a client.
type Network struct {
	Name     string
	ASN      uint32
	At       Place
	Users    float64 // weight; 0 for a network without clients
	Prefixes []netip.Prefix
	Router   string    // Ours, FRR or BIRD; its own or Internet.Router
	Resolver *Resolver // whom its clients ask; nil: each asks the authoritative servers itself, with ECS
}

// Resolver is a recursive resolver that a lab runs, for the clients of one or more networks.
type Resolver struct {
	Name     string        // unique among POPs, nodes, networks and resolvers
	In       *Network      // where it runs
	Addrs    []netip.Addr  // of In's first prefix of each family the second host, the third for In's second resolver, …
	ECS      bool          // it tells authoritative servers the client's network (RFC 7871)
	MinTTL   time.Duration // answers live at least this long, whatever their TTL says; 0 obeys it
	Software string        // Ours or Unbound
}

// NameServer is a name server of others that a lab runs: the root or a parent zone that delegates ours.
type NameServer struct {
	Host     string
	In       *Network // whose router it hangs on
	At       Place
	Prefixes []netip.Prefix
	Addrs    []netip.Addr // the first host of each prefix, in the same order
	Zones    []ServedZone // in file order, at least one
}

// ServedZone is a zone that a NameServer serves.
type ServedZone struct {
	Origin string // fully qualified, lower case, with the final dot; "." is the root
	File   string // its master file, relative to the lab's folder: "parent/example"
}

// Origin is a web server of a customer that a lab runs.
type Origin struct {
	Host     string   // the DNS name that sites name as origin
	In       *Network // whose router it hangs on
	At       Place
	Prefixes []netip.Prefix
	Addrs    []netip.Addr // the first host of each prefix, in the same order
	Limit    float64      // requests per second it can bear; 0 says unlimited
}

// Relation says what B is to A in a Link.
type Relation uint8

// The two kinds of link.
const (
	Transit Relation = iota // `a -> b`: A buys transit from B: B is A's provider, A is B's customer
	Peering                 // `a -- b`: they peer
)

// Link joins two networks, or a POP and a network. A and B are names of POPs or networks.
type Link struct {
	A, B     string
	Relation Relation
	Delay    time.Duration // one way; from the file, else from the distance
	Jitter   time.Duration
	Loss     float64       // 0 to 1, each way
	Rate     float64       // bits per second; 0 says unlimited
	Prepend  int           // how often A prepends its own ASN towards B
	BFD      time.Duration // both ends watch the path: the interval of BFD packets; 0 means no BFD
}

// Name is how messages and drills call the link: "nyc -> arc" or "arc -- bolt".
func (l *Link) Name() string {
	if l.Relation == Peering {
		return l.A + " -- " + l.B
	}
	return l.A + " -> " + l.B
}

// Place is a point on the map.
type Place struct {
	Code      string // IATA city code, empty when given by coordinates
	City      string
	Country   string  // ISO 3166-1 alpha-2
	Continent string  // AF AN AS EU NA OC SA
	Lat, Lon  float64 // degrees
}

// POP returns the POP of that name, or nil.
func (t *Topology) POP(name string) *POP {
	for _, p := range t.POPs {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Node returns the node of that name, or nil.
func (t *Topology) Node(name string) *Node {
	for _, p := range t.POPs {
		for _, n := range p.Nodes {
			if n.Name == name {
				return n
			}
		}
	}
	return nil
}

// Nodes returns all nodes in file order.
func (t *Topology) Nodes() []*Node {
	var all []*Node
	for _, p := range t.POPs {
		all = append(all, p.Nodes...)
	}
	return all
}

// Network returns the network of that name, or nil.
func (t *Topology) Network(name string) *Network {
	for _, n := range t.Internet.Networks {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Resolver returns the resolver of that name, or nil.
func (t *Topology) Resolver(name string) *Resolver {
	for _, r := range t.Internet.Resolvers {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// POPOf returns the POP whose unicast prefix holds addr, or nil.
func (t *Topology) POPOf(addr netip.Addr) *POP {
	for _, p := range t.POPs {
		for _, u := range p.Unicast {
			if u.Contains(addr.Unmap()) {
				return p
			}
		}
	}
	return nil
}
