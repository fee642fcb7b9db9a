package steer

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Explanation is where a host sends a client, why there and why not elsewhere.
type Explanation struct {
	Host    string       `json:"host"`
	Steer   site.Steer   `json:"steer"`
	Client  netip.Addr   `json:"client"`
	Scope   netip.Prefix `json:"scope"` // everybody in it gets the same answers; /0: everybody does
	TTL     uint32       `json:"ttl"`   // seconds
	Seen    Seen         `json:"seen"`
	A       Choice       `json:"a"`
	AAAA    Choice       `json:"aaaa"`
	Ranking []Rank       `json:"ranking"` // all candidates, best first
}

// Seen is what the databases say of the client.
type Seen struct {
	Known     bool   `json:"known"`
	City      string `json:"city,omitempty"`
	Region    string `json:"region,omitempty"`
	Country   string `json:"country,omitempty"`
	Continent string `json:"continent,omitempty"`
	ASN       uint32 `json:"asn,omitempty"`
}

// Choice is the answer to one type of question.
type Choice struct {
	Names  []string     `json:"names"` // the candidates; none: there is nothing to answer
	Addrs  []netip.Addr `json:"addresses,omitempty"`
	CNAME  string       `json:"cname,omitempty"`
	Reason string       `json:"reason"`
}

// Rank is one candidate's standing for the client.
type Rank struct {
	Name  string   `json:"name"`
	Why   string   `json:"why"`             // what its standing rests on
	KM    *float64 `json:"km,omitempty"`    // from the client, where both places are known
	State string   `json:"state"`           // of its health
	Cause string   `json:"cause,omitempty"` // of that state
	Bears int      `json:"bears"`           // per cent of its load
	Gets  bool     `json:"gets"`            // this client is sent to it
	Lacks string   `json:"lacks,omitempty"` // the family that it has no address of
}

// Explain says where a client is sent and why, by the same decision that answers him.
func (p *Policy) Explain(client netip.Addr, h *Health) Explanation {
	four, six := p.Decide(client, 4, h), p.Decide(client, 6, h)
	e := Explanation{Host: p.host.Name, Steer: p.host.Steer, Client: client, Scope: four.Scope, TTL: p.ttl, A: choice(four), AAAA: choice(six)}
	if four.Set == 0 || six.Set != 0 && six.Scope.Bits() > four.Scope.Bits() {
		e.Scope = six.Scope
	}
	loc, known := p.sources.Locate(client)
	where := whereIs(&loc)
	e.Seen = Seen{known, loc.City, loc.Region, loc.Country, where.continent, loc.ASN}
	for _, i := range p.ranked(client) {
		r := p.rank(i, client, h)
		if c := &p.list[i]; c.where.Placed && where.placed {
			km := topology.Distance(placeOf(&loc), c.where.At)
			km = math.Round(km)
			r.KM = &km
		}
		if r.Why == byDistance.text(nil, nil) && len(e.Ranking) > 0 {
			r.Why = byDistance.String() // nearest is one alone
		}
		r.Gets = slices.Contains(four.Names, r.Name) || slices.Contains(six.Names, r.Name)
		e.Ranking = append(e.Ranking, r)
	}
	return e
}

func choice(d Decision) Choice { return Choice{d.Names, d.Addrs, d.CNAME, d.Reason} }

// rank describes a candidate's standing.
func (p *Policy) rank(i uint16, client netip.Addr, h *Health) Rank {
	c := &p.list[i]
	r := Rank{Name: c.name, Why: p.because(i, client), State: health.Unknown.String(), Bears: 100}
	switch {
	case !c.can(0) && c.can(1):
		r.Lacks = "IPv4"
	case c.can(0) && !c.can(1):
		r.Lacks = "IPv6"
	}
	switch {
	case h == nil || p.way == anycast:
	case p.number >= 0:
		r.State, r.Cause = p.targetState(i, h.view)
	default:
		sv := h.view.Service(c.name, health.Web)
		r.State, r.Cause = sv.State.String(), sv.Cause.Text
	}
	if st := h.of(p); st != nil && p.way != anycast && st.partial.has(i) {
		r.Bears = int(st.shares[i]) * 100 / whole
	}
	return r
}

// targetState is the health of a target by its addresses.
func (p *Policy) targetState(i uint16, v *health.View) (state, cause string) {
	if v == nil {
		return health.Unknown.String(), ""
	}
	down := 0
	for _, id := range p.checks[i] {
		if isDown(v, id) {
			down, cause = down+1, v.Targets[id].Text
		}
	}
	switch {
	case len(p.checks[i]) == 0:
		return health.Unknown.String(), "it is not probed"
	case down == 0:
		return health.Up.String(), ""
	case down < len(p.checks[i]):
		return health.Degraded.String(), cause
	}
	return health.Down.String(), cause
}

// placeOf is where a location is, or its country's main town.
func placeOf(loc *geodata.Location) topology.Place {
	if !loc.Point {
		town, _ := topology.CountryPlace(loc.Country)
		return town
	}
	return topology.Place{Lat: loc.Lat, Lon: loc.Lon}
}

// Explain explains one host of several policies by name, or all of them, in the order of their names, if host is empty.
func Explain(policies map[string]*Policy, client netip.Addr, host string, h *Health) ([]Explanation, error) {
	var names []string
	for _, p := range policies {
		names = append(names, p.host.Name)
	}
	slices.Sort(names)
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	out := []Explanation{}
	for _, p := range policies {
		if host == "" || p.host.Name == host {
			out = append(out, p.Explain(client, h))
		}
	}
	slices.SortFunc(out, func(a, b Explanation) int { return strings.Compare(a.Host, b.Host) })
	switch {
	case len(names) == 0:
		return nil, errors.New("no host is steered: no site has one")
	case len(out) == 0:
		return nil, fmt.Errorf("host %q is not steered; want one of %s", host, strings.Join(names[:min(len(names), 20)], ", "))
	}
	return out, nil
}
