package bgpd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// The names in the topology that StandaloneConfig builds.
const (
	StandaloneNode = "self"
	StandalonePOP  = "here"
)

// StandaloneConfig is a speaker beside any service, from flags alone. All is required except Hold and BFD.
type StandaloneConfig struct {
	ASN      uint32
	RouterID netip.Addr // IPv4
	Peers    []StandalonePeer
	Announce []netip.Prefix // while the service is up
	NextHops []netip.Addr   // one for each family that is announced
	Hold     time.Duration  // 0 means 9 s
	BFD      time.Duration  // between two BFD packets to each peer; 0 means no BFD
}

// StandalonePeer is a neighbour.
type StandalonePeer struct {
	Address  netip.Addr
	Port     uint16 // 0 means 179
	ASN      uint32
	Local    netip.Addr // our end; the zero Addr lets the kernel choose
	Password string     // TCP MD5; empty means none
}

// Build makes the topology of one POP with one node in whose prefixes the service health.Web lives, the node's name,
// and its neighbours. Give the Server Options{Node: node, Neighbors: neighbors, NextHops: NextHops, Alone: true}, Apply
// the topology, and SetView a view in which StandaloneView says how the service is.
func (c StandaloneConfig) Build() (t *topology.Topology, node string, neighbors []speaker.Neighbor, err error) {
	var errs []error
	if len(c.Announce) == 0 {
		errs = append(errs, errors.New("nothing to announce: want at least one prefix"))
	}
	if len(c.Peers) == 0 {
		errs = append(errs, errors.New("nobody to announce to: want at least one peer"))
	}
	t = &topology.Topology{Name: StandalonePOP, ASN: c.ASN}
	pop := &topology.POP{Name: StandalonePOP}
	n := &topology.Node{Name: StandaloneNode, POP: pop, RouterID: c.RouterID}
	pop.Nodes, t.POPs = []*topology.Node{n}, []*topology.POP{pop}
	for i, p := range c.Announce {
		switch {
		case !p.IsValid() || p != p.Masked():
			errs = append(errs, fmt.Errorf("announce %q: want a prefix without host bits", p))
		case slices.Contains(c.Announce[:i], p):
			errs = append(errs, fmt.Errorf("announce %q: it is there twice", p))
		case !slices.ContainsFunc(c.NextHops, func(h netip.Addr) bool { return h.Is4() == p.Addr().Is4() }):
			errs = append(errs, fmt.Errorf("announce %q: want a next hop of its family", p))
		default:
			t.Anycast.Prefixes = append(t.Anycast.Prefixes, p)
			t.Anycast.Web = append(t.Anycast.Web, p.Addr())
		}
	}
	for _, p := range c.Peers {
		neighbors = append(neighbors, speaker.Neighbor{
			Name: p.Address.String(), Address: p.Address, Port: p.Port, ASN: p.ASN, Local: p.Local, Password: p.Password, HoldTime: c.Hold,
		})
	}
	return t, StandaloneNode, neighbors, errors.Join(errs...)
}

// Watched is what Options.BFD says of the peers.
func (c StandaloneConfig) Watched() map[netip.Addr]time.Duration {
	all := map[netip.Addr]time.Duration{}
	for _, p := range c.Peers {
		if c.BFD != 0 {
			all[p.Address] = c.BFD
		}
	}
	return all
}

// StandaloneView is the view of a fleet of one in which the service is so, and is to be drained if the intent is in force.
func StandaloneView(seq uint64, now time.Time, is health.ServiceView, wish health.Intent) *health.View {
	services := map[health.Service]health.ServiceView{health.Web: is}
	return &health.View{
		Self: StandaloneNode, Seq: seq, Time: now,
		POPs: map[string]health.POPView{StandalonePOP: {Services: services, Weight: 1}},
		Nodes: map[string]health.NodeView{StandaloneNode: {
			POP: StandalonePOP, Services: services, Heard: true, Claimed: now, Draining: wish.InForce(now), Why: wish.Why,
		}},
	}
}
