package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// GracefulShutdown is the community that asks neighbours to prefer any other path (RFC 8326).
const GracefulShutdown uint32 = 65535 << 16

// Route is one route that we originate.
type Route struct {
	Prefix           netip.Prefix
	NextHop          netip.Addr // the zero Addr means our end of each session
	Communities      []uint32   // RFC 1997
	LargeCommunities [][3]uint32
	MED              uint32   // 0 sends none
	ASPath           []uint32 // what is in the path before our ASN is put there: our ASN again prepends
}

func (r Route) equal(o Route) bool {
	return r.Prefix == o.Prefix && r.NextHop == o.NextHop && r.MED == o.MED && slices.Equal(r.ASPath, o.ASPath) &&
		slices.Equal(r.Communities, o.Communities) && slices.Equal(r.LargeCommunities, o.LargeCommunities)
}

// Best is the best path to a prefix, or that there is none any more.
type Best struct {
	Time             time.Time    `json:"time"` // when we heard of it
	Prefix           netip.Prefix `json:"prefix"`
	Withdrawn        bool         `json:"withdrawn,omitempty"` // no path is left; only Prefix and Time count
	Selected         bool         `json:"best"`                // always true in OnBest; RIB lists the others, too
	Neighbor         string       `json:"neighbor"`            // the neighbour it came from; "" for our own
	From             netip.Addr   `json:"from"`                // its address; the zero Addr for our own
	NextHop          netip.Addr   `json:"next_hop"`
	ASPath           []uint32     `json:"as_path"`
	LocalPref        uint32       `json:"local_pref,omitempty"`
	MED              uint32       `json:"med,omitempty"`
	Communities      []uint32     `json:"communities,omitempty"`
	LargeCommunities [][3]uint32  `json:"large_communities,omitempty"`
}

func family(v4 bool) *api.Family {
	if v4 {
		return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}

// toPath writes a route as gobgp wants it, in the form of the wire: that costs a third of its protobuf form. A withdrawal
// needs the prefix alone.
func toPath(r Route, withdraw bool) (*api.Path, error) {
	v4 := r.Prefix.Addr().Is4()
	p := &api.Path{Family: family(v4), NlriBinary: encodePrefix(r.Prefix), IsWithdraw: withdraw}
	if withdraw {
		return p, nil
	}
	hop := r.NextHop
	if !hop.IsValid() {
		hop = netip.IPv4Unspecified()
		if !v4 {
			hop = netip.IPv6Unspecified()
		}
	}
	attrs := []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(bgp.BGP_ORIGIN_ATTR_TYPE_IGP)}
	if v4 {
		attrs = append(attrs, bgp.NewPathAttributeNextHop(hop.String()))
	} else {
		nlri := bgp.NewIPv6AddrPrefix(uint8(r.Prefix.Bits()), r.Prefix.Addr().String())
		attrs = append(attrs, bgp.NewPathAttributeMpReachNLRI(hop.String(), []bgp.AddrPrefixInterface{nlri}))
	}
	if len(r.ASPath) > 0 {
		attrs = append(attrs, bgp.NewPathAttributeAsPath([]bgp.AsPathParamInterface{bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, r.ASPath)}))
	}
	if r.MED != 0 {
		attrs = append(attrs, bgp.NewPathAttributeMultiExitDisc(r.MED))
	}
	if len(r.Communities) > 0 {
		attrs = append(attrs, bgp.NewPathAttributeCommunities(r.Communities))
	}
	if len(r.LargeCommunities) > 0 {
		var large []*bgp.LargeCommunity
		for _, c := range r.LargeCommunities {
			large = append(large, &bgp.LargeCommunity{ASN: c[0], LocalData1: c[1], LocalData2: c[2]})
		}
		attrs = append(attrs, bgp.NewPathAttributeLargeCommunities(large))
	}
	for _, a := range attrs {
		encoded, err := a.Serialize()
		if err != nil {
			return nil, fmt.Errorf("encode attribute of %q: %w", r.Prefix, err)
		}
		p.PattrsBinary = append(p.PattrsBinary, encoded)
	}
	return p, nil
}

// encodePrefix writes a prefix as NLRI (RFC 4271 §4.3).
func encodePrefix(p netip.Prefix) []byte {
	return append([]byte{byte(p.Bits())}, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
}

// fromPath reads a path as gobgp tells it. The second result is false for what is neither IPv4 nor IPv6 unicast.
func fromPath(p *api.Path, now time.Time) (Best, bool) {
	nlri, err := apiutil.GetNativeNlri(p)
	if err != nil {
		return Best{}, false
	}
	prefix, err := netip.ParsePrefix(nlri.String())
	if err != nil {
		return Best{}, false
	}
	b := Best{Time: now, Prefix: prefix, Withdrawn: p.IsWithdraw, Selected: p.Best}
	if b.Withdrawn {
		return b, true
	}
	if from, err := netip.ParseAddr(p.NeighborIp); err == nil {
		b.From = from.Unmap()
	}
	attrs, err := apiutil.GetNativePathAttributes(p)
	if err != nil {
		return Best{}, false
	}
	for _, a := range attrs {
		b.take(a)
	}
	return b, true
}

func (b *Best) take(attr bgp.PathAttributeInterface) {
	switch a := attr.(type) {
	case *bgp.PathAttributeNextHop:
		if hop, ok := netip.AddrFromSlice(a.Value); ok {
			b.NextHop = hop.Unmap()
		}
	case *bgp.PathAttributeMpReachNLRI:
		if hop, ok := netip.AddrFromSlice(a.Nexthop); ok {
			b.NextHop = hop
		}
	case *bgp.PathAttributeAsPath:
		for _, segment := range a.Value {
			b.ASPath = append(b.ASPath, segment.GetAS()...)
		}
	case *bgp.PathAttributeLocalPref:
		b.LocalPref = a.Value
	case *bgp.PathAttributeMultiExitDisc:
		b.MED = a.Value
	case *bgp.PathAttributeCommunities:
		b.Communities = slices.Clone(a.Value)
	case *bgp.PathAttributeLargeCommunities:
		for _, c := range a.Values {
			b.LargeCommunities = append(b.LargeCommunities, [3]uint32{c.ASN, c.LocalData1, c.LocalData2})
		}
	}
}
