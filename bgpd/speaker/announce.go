package speaker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// Set makes the routes that we originate be exactly these. Only differences go on the wire, and when Set returns they
// are on their way: withdrawals first, in the order of routes for the rest. Before Run, Set only notes them.
// A prefix that occurs twice counts once, the last one. One that is not allowed is an error and is not announced; the
// others are.
func (s *Speaker) Set(routes []Route) error {
	s.routes.Lock()
	defer s.routes.Unlock()
	var errs []error
	want := make(map[netip.Prefix]Route, len(routes))
	for _, r := range routes {
		if r.Prefix != r.Prefix.Masked() || !r.Prefix.IsValid() {
			return fmt.Errorf("announce %q: want a prefix without host bits", r.Prefix)
		}
		if s.allowed != nil && !slices.Contains(s.allowed, r.Prefix) {
			errs = append(errs, fmt.Errorf("announce %q: it is not among the prefixes that may leave", r.Prefix))
			continue
		}
		want[r.Prefix] = r
	}
	if s.wanted == nil {
		return nil // Run has ended
	}
	old := s.wanted
	s.wanted = want
	if s.announcing {
		errs = append(errs, s.sendDifferences(s.library(), old, want, routes))
	}
	return errors.Join(errs...)
}

// SetAllowed replaces what may be announced; nil allows all. It counts from the next Set on.
func (s *Speaker) SetAllowed(prefixes []netip.Prefix) {
	s.routes.Lock()
	defer s.routes.Unlock()
	s.allowed = slices.Clone(prefixes)
}

// sendDifferences tries everything, so that one route that fails does not keep another one announced. It is called with
// routes held.
func (s *Speaker) sendDifferences(b *server.BgpServer, old, want map[netip.Prefix]Route, order []Route) error {
	var gone []netip.Prefix
	for prefix := range old {
		if _, still := want[prefix]; !still {
			gone = append(gone, prefix)
		}
	}
	var changed []Route
	for _, r := range order {
		was, known := old[r.Prefix]
		if now, wanted := want[r.Prefix]; wanted && now.equal(r) && (!known || !was.equal(r)) {
			changed = append(changed, r)
		}
	}
	if len(gone)+len(changed) >= bulkLeast {
		all := s.openBulk()
		defer all.close()
		s.withdrawEarly(all, gone)
	}
	var errs []error
	for _, prefix := range gone {
		if err := deletePath(b, prefix); err != nil {
			errs = append(errs, err)
		}
	}
	for _, r := range changed {
		if err := addPath(b, r); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func deletePath(b *server.BgpServer, prefix netip.Prefix) error {
	p, err := toPath(Route{Prefix: prefix}, true)
	if err != nil {
		return err
	}
	if err := b.DeletePath(context.Background(), &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Family: p.Family, Path: p}); err != nil {
		return fmt.Errorf("withdraw %q: %w", prefix, err)
	}
	return nil
}

func addPath(b *server.BgpServer, r Route) error {
	p, err := toPath(r, false)
	if err != nil {
		return err
	}
	if _, err := b.AddPath(context.Background(), &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: p}); err != nil {
		return fmt.Errorf("announce %q: %w", r.Prefix, err)
	}
	return nil
}

// startRoutes announces what was wanted before Run. From here on Set acts itself.
func (s *Speaker) startRoutes(b *server.BgpServer) error {
	s.routes.Lock()
	defer s.routes.Unlock()
	s.announcing = true
	for _, r := range s.wanted {
		if err := addPath(b, r); err != nil {
			return err
		}
	}
	for _, r := range defaultRoutes(s.o.Neighbors) {
		if err := addPath(b, r); err != nil {
			return err
		}
	}
	return nil
}
