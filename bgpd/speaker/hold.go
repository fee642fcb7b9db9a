package speaker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	api "github.com/osrg/gobgp/v3/api"
)

// Hold ends the session with a neighbour at once, with a Cease that says why, and lets none come up until Release: the path
// to it is known to be dead, though TCP may not have noticed (RFC 5882 §4.3). An address that is no neighbour's is nothing
// to do.
func (s *Speaker) Hold(addr netip.Addr, why string) error {
	s.peers.Lock()
	defer s.peers.Unlock()
	n := s.neighborAt(addr)
	if n == nil || s.held[addr] {
		return nil
	}
	s.held[addr] = true
	r := s.revivals[addr]
	if r == nil || !r.added || s.closing {
		return nil
	}
	r.due = time.Time{}
	err := s.library().DisablePeer(context.Background(), &api.DisablePeerRequest{Address: addr.String(), Communication: why})
	s.mu.Lock()
	if session := s.sessions[addr]; session != nil {
		session.Error = why
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("hold the session with %q: %w", n.Name, err)
	}
	return nil
}

// Release lets a neighbour's session come up again after Hold.
func (s *Speaker) Release(addr netip.Addr) {
	s.peers.Lock()
	defer s.peers.Unlock()
	if !s.held[addr] {
		return
	}
	delete(s.held, addr)
	s.mu.Lock()
	if session := s.sessions[addr]; session != nil {
		session.Error = ""
		if !slices.Contains(s.down, addr) {
			s.down = append(s.down, addr)
		}
	}
	s.mu.Unlock()
	if r := s.revivals[addr]; r != nil {
		r.attempts = 0
	}
	s.nudge()
}

// neighborAt is called with peers held.
func (s *Speaker) neighborAt(addr netip.Addr) *Neighbor {
	for i := range s.neighbors {
		if s.neighbors[i].Address == addr {
			return &s.neighbors[i]
		}
	}
	return nil
}
