// Package steer decides which POP, or which target of a customer's own, a client gets. It is pure: who asks and the
// fleet's health come in, a set of candidates goes out.
//
//	client ──► table ──► the order of places ──┬─► the first that are well ──► SetID ──► addresses or a CNAME
//	           (prefix, ASN, measured,         │
//	            country, distance)          Health
//
// The order of places depends on the client alone and holds for a whole network, the scope; health only says how far
// down that order the answer lies. So a scope once given stays right whatever fails (design §7). Where candidates share
// one place, or one bears only a part of its load, a hash of the client's network draws one of them, and the scope is
// not wider than that network.
package steer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Policy is one host's steering, compiled. It is immutable and safe for concurrent use.
type Policy struct {
	host   *site.Host
	ttl    uint32
	salt   uint64 // of the host's name
	number int    // in Health.targets; -1 for a host that is steered among POPs
	way    way
	closed bool

	list     []candidate
	checks   []map[netip.Addr]string // of each target, by address; none of one that is not probed
	able     [families]mask          // have an answer for the family, and a weight
	order    []uint16                // those that are not in fallback, in file order
	fallback []uint16                // asked for only when none of order is usable
	wants    int                     // how many candidates an answer names at most

	sources   *geodata.Sources // for explaining
	table     *geodata.Table   // geo: orders spots
	geography *geography       // geo: what table was compiled from
	members   [][]uint16       // geo: the candidates at a spot; most have one
}

// way is site.Steer as a number, which is compared for each query.
type way uint8

const (
	pinned way = iota
	geo
	weighted
	anycast
)

func wayOf(s site.Steer) way {
	switch s {
	case site.Geo:
		return geo
	case site.Weighted:
		return weighted
	case site.Anycast:
		return anycast
	}
	return pinned
}

// MaxTables is how many tables one configuration may need. Hosts that steer among the same POPs share one, and so do
// hosts whose targets stand at the same places.
const MaxTables = 256

// Compiler makes the Policies of one configuration, which share tables. It is used by one goroutine; its Health may be
// called by any one at a time later on.
type Compiler struct {
	topo      *topology.Topology
	sources   *geodata.Sources
	atlas     *geodata.Atlas  // of sources; nil before its first use and after Finish
	mentioned map[string]bool // the names in rules
	tables    map[string]*geodata.Table
	before    map[string]*geodata.Table // of the configuration before, where its sources are the same
	own       []*Policy                 // hosts with targets of their own, by Policy.number
}

// NewCompiler makes a Compiler. The topology may be nil if all hosts steer among targets of their own; without sources
// everybody gets the order of the file. before is the Compiler of the configuration in force, or nil: where sources is
// the same pointer, its tables are used again.
func NewCompiler(t *topology.Topology, sources *geodata.Sources, before *Compiler) *Compiler {
	c := &Compiler{topo: t, sources: sources, tables: map[string]*geodata.Table{}, mentioned: map[string]bool{}}
	if c.sources == nil {
		c.sources = &geodata.Sources{}
	}
	for _, rules := range [][]*geodata.Rule{c.sources.Rules.Prefixes, c.sources.Rules.ASNs, c.sources.Rules.Measured} {
		for _, r := range rules {
			for _, name := range r.To {
				c.mentioned[name] = true
			}
		}
	}
	if before != nil && before.sources == c.sources {
		c.before = before.tables
	}
	return c
}

// Finish lets go of what only Compile needs.
func (c *Compiler) Finish() { c.atlas, c.before = nil, nil }

// Tables is how many tables the policies share.
func (c *Compiler) Tables() int { return len(c.tables) }

// Compile checks a host against the topology and makes its Policy.
func (c *Compiler) Compile(h *site.Host) (*Policy, error) {
	p := &Policy{host: h, ttl: uint32((h.TTL + time.Second - 1) / time.Second), salt: seedOf(h.Name), number: -1, way: wayOf(h.Steer), closed: h.Closed, wants: 1, sources: c.sources}
	if err := c.candidates(p); err != nil {
		return nil, err
	}
	for f := range families {
		for i := range p.list {
			if p.list[i].can(f) {
				p.able[f].set(uint16(i))
			}
		}
	}
	if err := p.arrange(); err != nil {
		return nil, err
	}
	if h.Steer == site.Geo {
		p.wants = min(max(h.Nearest, 1), MaxNearest)
		return p, c.locate(p)
	}
	return p, nil
}

func (c *Compiler) candidates(p *Policy) error {
	h := p.host
	switch {
	case len(h.Targets) > MaxCandidates:
		return fmt.Errorf("host %q: %d targets; want at most %d", h.Name, len(h.Targets), MaxCandidates)
	case len(h.Targets) > 0:
		p.number = len(c.own)
		c.own = append(c.own, p)
		return p.addTargets()
	case c.topo == nil:
		return fmt.Errorf("host %q: steered among POPs, but there is no topology; name its targets", h.Name)
	case h.Steer == site.Anycast:
		return p.addAnycast(c.topo)
	case len(c.topo.POPs) == 0:
		return fmt.Errorf("host %q: steered among POPs, but the topology has none", h.Name)
	case len(c.topo.POPs) > MaxCandidates:
		return fmt.Errorf("host %q: %d POPs; want at most %d", h.Name, len(c.topo.POPs), MaxCandidates)
	}
	return p.addPOPs(c.topo)
}

// addAnycast makes the shared addresses the only candidate, on which health has no say: routing decides.
func (p *Policy) addAnycast(t *topology.Topology) error {
	if len(t.Anycast.Web) == 0 {
		return fmt.Errorf("host %q: steered by anycast, but the topology has no anycast web addresses", p.host.Name)
	}
	only := candidate{name: "anycast", weight: 1}
	only.addAddrs(t.Anycast.Web)
	p.list = []candidate{only}
	return nil
}

// arrange splits the candidates into those that are used and those that stand in for them.
func (p *Policy) arrange() error {
	var errs []error
	for _, name := range p.host.Fallback {
		i := slices.IndexFunc(p.list, func(c candidate) bool { return c.name == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("host %q: its fallback %q is none of %s", p.host.Name, name, p.names()))
			continue
		}
		if p.list[i].weight == 0 { // of a POP that the host does not name otherwise
			p.list[i].weight = 1
			for f := range families {
				if p.list[i].can(f) {
					p.able[f].set(uint16(i))
				}
			}
		}
		p.fallback = append(p.fallback, uint16(i))
	}
	for i := range p.list {
		if p.list[i].weight > 0 && !slices.Contains(p.fallback, uint16(i)) {
			p.order = append(p.order, uint16(i))
		}
	}
	if len(p.host.POPs) > 0 && p.host.Steer == site.Pinned { // in the host's order, not in the topology's
		at := func(i uint16) int {
			return slices.IndexFunc(p.host.POPs, func(s site.Share) bool { return s.Name == p.list[i].name })
		}
		slices.SortFunc(p.order, func(a, b uint16) int { return at(a) - at(b) })
	}
	if len(p.order) == 0 && errs == nil {
		errs = append(errs, fmt.Errorf("host %q: nothing is left to steer to besides its fallback; want a candidate with a weight", p.host.Name))
	}
	return errors.Join(errs...)
}

func (p *Policy) names() string {
	names := make([]string, len(p.list))
	for i, c := range p.list {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// locate gives a policy the table of its geography.
func (c *Compiler) locate(p *Policy) error {
	var key string
	p.geography, p.members, key = newGeography(p, c.mentioned)
	t := c.tables[key]
	if t == nil {
		t = c.before[key]
	}
	if t == nil {
		if len(c.tables) == MaxTables {
			return fmt.Errorf("host %q: it needs steering table number %d; want at most %d: let hosts have targets at the same places", p.host.Name, MaxTables+1, MaxTables)
		}
		var err error
		if c.atlas == nil {
			if c.atlas, err = geodata.NewAtlas(*c.sources); err != nil {
				return err
			}
		}
		if t, err = c.atlas.Compile(p.geography.order); err != nil {
			return fmt.Errorf("host %q: %w", p.host.Name, err)
		}
	}
	c.tables[key], p.table = t, t
	return nil
}
