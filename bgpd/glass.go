package bgpd

import (
	"net/netip"

	"github.com/catchment-net/catchment/bgpd/speaker"
)

// AdjRIB lists the paths that a neighbour has sent us, or those that we have sent it: to a prefix, or to all prefixes if
// it is the zero Prefix. A neighbour of another name is an error that lists them.
func (s *Server) AdjRIB(neighbor string, sent bool, prefix netip.Prefix) ([]RIBEntry, error) {
	s.mu.Lock()
	sp := s.speaker
	s.mu.Unlock()
	if sp == nil {
		return nil, nil
	}
	t := speaker.AdjRIBIn
	if sent {
		t = speaker.AdjRIBOut
	}
	return sp.Adj(t, neighbor, prefix)
}
