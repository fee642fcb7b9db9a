// Package speaker makes BGP sessions and routes agree with what its user wants, and tells what it hears.
//
// It is declarative: SetNeighbors and Set take the whole wanted set and only differences go on the wire. It is the only
// package that imports gobgp, so that another BGP library is a change in this package alone.
package speaker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// DefaultHoldTime is the BGP hold time offered in OPEN where nothing else is said: three lost keepalives of 3 s.
const DefaultHoldTime = 9 * time.Second

// minHoldTime is the shortest hold time other than zero that the protocol allows (RFC 4271 §4.2).
const minHoldTime = 3 * time.Second

// Relation says what a neighbour is to us, and with it which routes pass (Gao and Rexford's rules).
type Relation uint8

// The relations. A speaker either has neighbours of None alone, or of the other three.
const (
	None     Relation = iota // a POP's router: it hears our own routes alone; of its routes we take a default route at most
	Customer                 // it pays us: it hears everything, and everybody hears of it
	Peer                     // it hears of us and our customers
	Provider                 // we pay it: it hears of us and our customers
)

var relationNames = [...]string{"none", "customer", "peer", "provider"}

func (r Relation) String() string {
	if int(r) < len(relationNames) {
		return relationNames[r]
	}
	return fmt.Sprintf("Relation(%d)", uint8(r))
}

// ParseRelation reads what String writes; "" means None.
func ParseRelation(name string) (Relation, error) {
	if name == "" {
		return None, nil
	}
	i := slices.Index(relationNames[:], name)
	if i < 0 {
		return None, fmt.Errorf("relation %q: want none, customer, peer or provider", name)
	}
	return Relation(i), nil
}

// Neighbor is one wanted session. IPv4 and IPv6 routes share it (RFC 4760).
type Neighbor struct {
	Name    string     // for events and status; unique
	Address netip.Addr // of the neighbour; unique
	Port    uint16     // where it listens; 0 means 179
	ASN     uint32
	Local   netip.Addr // our end; the zero Addr lets the kernel choose. A connection to another one of ours is refused

	Passive     bool          // never dial, wait for its connection
	Password    string        // TCP MD5 (RFC 2385); empty means none
	HoldTime    time.Duration // whole seconds, at least 3 s; 0 means DefaultHoldTime
	Keepalive   time.Duration // whole seconds, at most a third of the hold time; 0 means that
	Multihop    uint8         // IP TTL towards a neighbour that is routers away; 0 means directly connected
	TTLSecurity bool          // GTSM (RFC 5082): send TTL 255, accept nothing less; excludes Multihop
	// MaxPrefixes is how many prefixes of each family it may send, those that our rules refuse included; 0 means any
	// number. One more ends the session with a Cease that says so (RFC 4486 §4), and it stays down for a while.
	MaxPrefixes int

	Relation Relation

	// Done to routes towards it, besides what a Route carries.
	Prepend          int      // how often our ASN is added to the path, at most 10
	MED              uint32   // 0 leaves a Route's own
	Communities      []uint32 // added
	LargeCommunities [][3]uint32
	NextHop4         netip.Addr // written into IPv4 routes towards it; the zero Addr leaves a Route's own, else our end of the session
	Default          bool       // it hears a default route of ours; counts only where it is so from the start
	NextHop6         netip.Addr // the same for IPv6; over an IPv4 session it is needed where the neighbour refuses ::ffff:a.b.c.d
}

// sameSession reports whether the session with n may stay when n becomes o: what differs is done to routes alone.
func (n Neighbor) sameSession(o Neighbor) bool {
	n.Prepend, n.MED, n.Communities, n.LargeCommunities = o.Prepend, o.MED, o.Communities, o.LargeCommunities
	return reflect.DeepEqual(n, o)
}

func (n Neighbor) equal(o Neighbor) bool { return reflect.DeepEqual(n, o) }

// maxPrepend bounds a path: longer prepends are filtered by many networks.
const maxPrepend = 10

// Options configures a Speaker. ASN and RouterID are required.
type Options struct {
	ASN       uint32
	RouterID  netip.Addr       // IPv4 (RFC 4271 §4.2)
	Listen    []netip.AddrPort // empty means no listener; all must have one port, and port 0 picks a free one
	Neighbors []Neighbor       // the first wanted set; SetNeighbors replaces it
	Allowed   []netip.Prefix   // what may be announced, whatever Set is asked for; nil allows all. SetAllowed replaces it

	Monitors Monitors // SetMonitors replaces them

	// OnSession is called when a session changes state, OnBest when the best path of a prefix does; nil means nobody
	// listens. Calls come in order from one goroutine, beginning with what is true when Run starts. They must not
	// block, and they may call any method except Run and Shutdown.
	OnSession func(Session)
	OnBest    func(Best)
	// OnUpdate is called for every path that a neighbour sends or withdraws, whatever our rules make of it, in the same
	// order. Selected is never set. What nobody listens to costs nothing.
	OnUpdate func(Best)

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil means time.Now
	Ready  func()           // called once when the speaker listens; nil means nobody waits

	tryProtection func(Neighbor) error // nil asks the kernel
	floodFirst    time.Duration        // 0 means the constant
}

func (o *Options) check() error {
	var errs []error
	if o.ASN == 0 {
		errs = append(errs, errors.New("asn 0: want 1 to 4294967295"))
	}
	if !o.RouterID.Is4() {
		errs = append(errs, fmt.Errorf("router id %q: want an IPv4 address", o.RouterID))
	}
	for _, l := range o.Listen {
		if !l.Addr().IsValid() || l.Port() != o.Listen[0].Port() {
			errs = append(errs, fmt.Errorf("listen address %q: want an address, and the port of the first one, %d", l, o.Listen[0].Port()))
		}
	}
	return errors.Join(append(errs, checkNeighbors(o.Neighbors), o.Monitors.check())...)
}

func checkNeighbors(all []Neighbor) error {
	var errs []error
	for i, n := range all {
		if err := n.check(); err != nil {
			errs = append(errs, err)
		}
		if (n.Relation == None) != (all[0].Relation == None) {
			errs = append(errs, fmt.Errorf("neighbor %q: a relation of %q beside one of %q: either all or no neighbors have one", n.Name, n.Relation, all[0].Relation))
		}
		if slices.ContainsFunc(all[:i], func(o Neighbor) bool { return o.Name == n.Name || o.Address == n.Address }) {
			errs = append(errs, fmt.Errorf("neighbor %q at %q: another neighbor has that name or address", n.Name, n.Address))
		}
	}
	return errors.Join(errs...)
}

func (n *Neighbor) hold() time.Duration { return cmp.Or(n.HoldTime, DefaultHoldTime) }

func (n *Neighbor) check() error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("neighbor %q: "+format, append([]any{n.Name}, args...)...))
	}
	if n.Name == "" {
		errs = append(errs, fmt.Errorf("neighbor at %q: want a name", n.Address))
	}
	if !n.Address.IsValid() || n.Address.IsUnspecified() || n.Address.Is4In6() {
		fail("address %q: want the address of a router", n.Address)
	}
	if n.Local.IsValid() && n.Local.Is4() != n.Address.Is4() {
		fail("local address %q: want the family of the neighbor's, %q", n.Local, n.Address)
	}
	if n.ASN == 0 {
		fail("asn 0: want 1 to 4294967295")
	}
	if h := n.HoldTime; h != 0 && (h < minHoldTime || h > 65535*time.Second || h%time.Second != 0) {
		fail("hold time %v: want 0 or whole seconds from 3s (RFC 4271 §4.2)", h)
	}
	if k := n.Keepalive; k != 0 && (k < time.Second || k > n.hold()/3 || k%time.Second != 0) {
		fail("keepalive %v: want 0 or whole seconds up to a third of the hold time %v (RFC 4271 §4.4)", k, n.hold())
	}
	if n.MaxPrefixes < 0 || n.MaxPrefixes > math.MaxInt32 {
		fail("max prefixes %d: want 0 for any number, or a limit", n.MaxPrefixes)
	}
	if len(n.Password) > 80 {
		fail("password of %d bytes: TCP MD5 takes 80 at most", len(n.Password))
	}
	if n.TTLSecurity && n.Multihop != 0 {
		fail("ttl security with multihop %d: want one of the two", n.Multihop)
	}
	if n.Relation > Provider {
		fail("relation %d: want none, customer, peer or provider", n.Relation)
	}
	if n.Prepend < 0 || n.Prepend > maxPrepend {
		fail("prepend %d: want 0 to %d", n.Prepend, maxPrepend)
	}
	if n.NextHop4.IsValid() && !n.NextHop4.Is4() {
		fail("IPv4 next hop %q: want an IPv4 address", n.NextHop4)
	}
	if n.NextHop6.IsValid() && (!n.NextHop6.Is6() || n.NextHop6.Is4In6()) {
		fail("IPv6 next hop %q: want an IPv6 address", n.NextHop6)
	}
	return errors.Join(errs...)
}
