package speaker

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
)

// Table names one of a speaker's tables of routes (RFC 4271 §3.2).
type Table uint8

// The tables. The Adj-RIBs are one neighbour's.
const (
	LocRIB    Table = iota // what we know after import policy, the best path first
	AdjRIBIn               // what the neighbour has sent, before import policy
	AdjRIBOut              // what we have sent to it, after export policy
)

func (t Table) api() api.TableType {
	switch t {
	case AdjRIBIn:
		return api.TableType_ADJ_IN
	case AdjRIBOut:
		return api.TableType_ADJ_OUT
	default:
		return api.TableType_GLOBAL
	}
}

// RIB lists the known paths to a prefix, the best one first, or to every prefix if it is the zero Prefix. It reads
// gobgp's table, so it is for people and not for every packet.
func (s *Speaker) RIB(prefix netip.Prefix) ([]Best, error) {
	return s.list(LocRIB, netip.Addr{}, prefix)
}

// Adj lists what a neighbour has sent or been sent, for one prefix or for all, as RIB does. Before the session stands
// there is nothing.
func (s *Speaker) Adj(t Table, neighbor string, prefix netip.Prefix) ([]Best, error) {
	all := s.Neighbors()
	i := slices.IndexFunc(all, func(n Session) bool { return n.Neighbor == neighbor })
	if i < 0 {
		names := make([]string, len(all))
		for j, n := range all {
			names[j] = n.Neighbor
		}
		return nil, fmt.Errorf("no neighbor %q: want one of %q", neighbor, names)
	}
	if all[i].State != Established {
		return nil, nil
	}
	return s.list(t, all[i].Address, prefix)
}

func (s *Speaker) list(t Table, neighbor netip.Addr, prefix netip.Prefix) ([]Best, error) {
	b := s.library()
	if b == nil {
		return nil, nil
	}
	var all []Best
	for _, v4 := range []bool{true, false} {
		r := &api.ListPathRequest{TableType: t.api(), Family: family(v4), SortType: api.ListPathRequest_PREFIX}
		if t != LocRIB {
			r.Name = neighbor.String()
		}
		if prefix.IsValid() {
			if prefix.Addr().Is4() != v4 {
				continue
			}
			r.Prefixes = []*api.TableLookupPrefix{{Prefix: prefix.String()}}
		}
		if err := b.ListPath(context.Background(), r, func(d *api.Destination) {
			for _, p := range d.Paths {
				path, ok := fromPath(p, p.Age.AsTime())
				if !ok {
					continue
				}
				path.Neighbor = s.nameOf(path.From)
				all = append(all, path)
			}
		}); err != nil {
			return nil, fmt.Errorf("read routes: %w", err)
		}
	}
	slices.SortStableFunc(all, func(x, y Best) int {
		return cmp.Or(x.Prefix.Addr().Compare(y.Prefix.Addr()), cmp.Compare(x.Prefix.Bits(), y.Prefix.Bits()))
	})
	return all, nil
}
