package bgpd

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/bgpd/bfd"
	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/topology"
)

// config is what a Server makes of a topology.
type config struct {
	topology  *topology.Topology
	node      *topology.Node
	asn       uint32
	routerID  netip.Addr
	listen    []netip.AddrPort
	neighbors []speaker.Neighbor
	paths     []bfd.Peer
}

func newConfig(o *Options, t *topology.Topology) (*config, error) {
	n := t.Node(o.Node)
	if n == nil {
		return nil, fmt.Errorf("node %q is not in topology %q", o.Node, t.Name)
	}
	c := &config{topology: t, node: n, asn: t.ASN, routerID: n.RouterID, listen: o.Listen, neighbors: o.Neighbors}
	if o.Neighbors == nil {
		var err error
		if c.neighbors, err = fromTopology(n); err != nil {
			return nil, err
		}
		if o.Listen == nil && len(c.neighbors) > 0 {
			c.listen = listenAt(n.Addrs, c.neighbors)
		}
	}
	var err error
	if c.paths, err = pathsOf(c.neighbors, o, n); err != nil {
		return nil, err
	}
	if len(c.neighbors) == 0 {
		return c, nil
	}
	hops := slices.Concat(o.NextHops, n.Addrs)
	for _, p := range slices.Concat(t.Anycast.Prefixes, n.POP.Unicast) {
		if !slices.ContainsFunc(hops, func(h netip.Addr) bool { return h.Is4() == p.Addr().Is4() }) {
			return nil, fmt.Errorf("node %q announces %q but has no address of that family to be its next hop; give its POP a unicast prefix of the family", n.Name, p)
		}
	}
	return c, nil
}

// listenAt is the BGP port of the node's addresses, and of those that a session must end at.
func listenAt(addrs []netip.Addr, neighbors []speaker.Neighbor) []netip.AddrPort {
	var all []netip.AddrPort
	for _, a := range addrs {
		all = append(all, netip.AddrPortFrom(a, topology.PortBGP))
	}
	for _, n := range neighbors {
		if l := netip.AddrPortFrom(n.Local, topology.PortBGP); n.Local.IsValid() && !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

// allowed is all that may ever leave: the prefixes that the topology gives this node to announce.
func (c *config) allowed() []netip.Prefix {
	return slices.Concat([]netip.Prefix{}, c.topology.Anycast.Prefixes, c.node.POP.Unicast)
}

func (c *config) monitors() speaker.Monitors {
	b := c.topology.BGP
	return speaker.Monitors{BMP: b.BMP, MRT: speaker.MRT{File: b.MRT.File, Rotate: b.MRT.Rotate}}
}

func fromTopology(n *topology.Node) ([]speaker.Neighbor, error) {
	var all []speaker.Neighbor
	var errs []error
	for _, r := range n.POP.Neighbors {
		password, err := readSecret(r.Password)
		if err != nil {
			errs = append(errs, fmt.Errorf("password of neighbor %q: %w", r.Name, err))
		}
		all = append(all, speaker.Neighbor{
			Name: r.Name, Address: r.Address, ASN: r.ASN, Local: r.Local, Password: password, TTLSecurity: r.TTLSecurity, Multihop: uint8(r.Multihop),
			HoldTime: r.HoldTime, Keepalive: r.Keepalive, MaxPrefixes: r.MaxPrefixes,
			Prepend: r.Prepend, MED: r.MED, Communities: r.Communities, LargeCommunities: r.LargeCommunities,
		})
	}
	return all, errors.Join(errs...)
}

// readSecret reads a secret; an empty one is a mistake rather than no protection.
func readSecret(s topology.Secret) (string, error) {
	var value string
	switch {
	case s.File != "":
		text, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("read secret: %w", err)
		}
		value = strings.TrimRight(string(text), "\r\n")
	case s.Env != "":
		value = os.Getenv(s.Env)
	default:
		return "", nil
	}
	if value == "" {
		return "", fmt.Errorf("secret in %q is empty", s.File+s.Env)
	}
	return value, nil
}

// NeighborStatus is a neighbour and its session, for people.
type NeighborStatus struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	ASN     uint32     `json:"asn"`
	State   string     `json:"state"`
	Since   time.Time  `json:"since"`           // when it entered the state; zero before Run
	Downs   int        `json:"downs,omitempty"` // how often it was established and ended
	Cause   string     `json:"cause,omitempty"` // why it ended when it was last established
	Error   string     `json:"error,omitempty"` // why it may not come up
	BFD     *BFDStatus `json:"bfd,omitempty"`   // of the path; nil where nothing watches it
}

// Neighbors lists the neighbours in the order of the configuration.
func (s *Server) Neighbors() []NeighborStatus {
	s.mu.Lock()
	sp := s.speaker
	s.mu.Unlock()
	if sp == nil {
		return nil
	}
	paths := s.paths.status()
	var all []NeighborStatus
	for _, n := range sp.Neighbors() {
		all = append(all, NeighborStatus{
			Name: n.Neighbor, Address: n.Address, ASN: n.ASN, State: string(n.State), Since: n.Since, Downs: n.Downs,
			Cause: n.Cause, Error: n.Error, BFD: paths[n.Address],
		})
	}
	return all
}

// RIBEntry is one path to a prefix, for people.
type RIBEntry = speaker.Best

// RIB lists the paths to a prefix, the best one first, or to all prefixes if it is the zero Prefix.
func (s *Server) RIB(prefix netip.Prefix) ([]RIBEntry, error) {
	s.mu.Lock()
	sp := s.speaker
	s.mu.Unlock()
	if sp == nil {
		return nil, nil
	}
	return sp.RIB(prefix)
}
