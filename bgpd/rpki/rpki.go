// Package rpki says whether an AS may originate a prefix, by what RTR servers have validated (RFC 6811).
//
// It keeps only what concerns the prefixes that it is asked about, so it costs nothing to ask a server that knows the
// whole Internet.
package rpki

import (
	"net/netip"
	"slices"
)

// VRP is a validated ROA payload (RFC 6811 §2): ASN may originate Prefix, and what is more specific up to MaxLength.
type VRP struct {
	Prefix    netip.Prefix
	MaxLength uint8
	ASN       uint32 // 0 means nobody may (RFC 6483 §4)
}

func (v VRP) covers(p netip.Prefix) bool {
	return v.Prefix.Bits() <= p.Bits() && v.Prefix.Contains(p.Addr())
}

// State is how a route's origin is judged.
type State uint8

// The states (RFC 6811 §2).
const (
	NotFound State = iota // no VRP covers the prefix
	Valid                 // one that covers it matches
	Invalid               // some cover it, none matches
)

var stateNames = [...]string{"not found", "valid", "invalid"}

func (s State) String() string { return stateNames[s] }

// Table is a set of VRPs; it does not change. The nil Table is empty.
type Table struct{ all []VRP }

// NewTable makes a table.
func NewTable(all []VRP) *Table { return &Table{all: slices.Clone(all)} }

// Len counts the VRPs.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return len(t.all)
}

// Validate judges a route. It looks at every VRP: a table holds those of a few prefixes.
func (t *Table) Validate(p netip.Prefix, origin uint32) State {
	s := NotFound
	if t == nil {
		return s
	}
	for _, v := range t.all {
		switch {
		case !v.covers(p):
		case v.ASN == origin && v.ASN != 0 && p.Bits() <= int(v.MaxLength):
			return Valid
		default:
			s = Invalid
		}
	}
	return s
}
