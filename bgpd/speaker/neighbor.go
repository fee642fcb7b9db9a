package speaker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// SetNeighbors makes the sessions be exactly these. A neighbour that is new, changed or gone has its session begun or
// ended; the others' stay as they are. All or nothing where the input is wrong; an error of the library names the
// neighbours that it concerns, and the others are set.
func (s *Speaker) SetNeighbors(want []Neighbor) error {
	if err := errors.Join(checkNeighbors(want), s.checkProtection(want)); err != nil {
		return err
	}
	s.peers.Lock()
	defer s.peers.Unlock()
	b := s.library()
	if s.closing || !s.started {
		s.setWanted(want)
		return nil
	}
	old := s.neighbors
	for _, n := range want {
		if i := slices.IndexFunc(old, func(o Neighbor) bool { return o.Address == n.Address }); i >= 0 &&
			old[i].Password != "" && n.Password == "" && len(s.o.Listen) > 0 {
			return fmt.Errorf("neighbor %q: gobgp cannot take a password off a listener; restart to go without one", n.Name)
		}
	}
	if err := s.guard(s.Addrs(), want); err != nil {
		return err
	}
	ctx := context.Background()
	var errs []error
	for _, n := range old {
		if !slices.ContainsFunc(want, n.sameSession) {
			errs = append(errs, s.deletePeer(ctx, b, n))
			delete(s.revivals, n.Address)
			s.mu.Lock()
			delete(s.sessions, n.Address)
			s.mu.Unlock()
		}
	}
	s.setWanted(want)
	if err := setPolicies(ctx, b, s.o.ASN, want); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, n := range want {
		switch {
		case slices.ContainsFunc(old, n.equal):
		case slices.ContainsFunc(old, n.sameSession):
			errs = append(errs, sendAgain(ctx, b, n))
		default:
			errs = append(errs, s.addPeer(ctx, b, n))
		}
	}
	return errors.Join(errs...)
}

// sendAgain sends a neighbour all routes by the rules that are in force now.
func sendAgain(ctx context.Context, b *server.BgpServer, n Neighbor) error {
	if err := b.ResetPeer(ctx, &api.ResetPeerRequest{Address: n.Address.String(), Soft: true, Direction: api.ResetPeerRequest_OUT}); err != nil {
		return fmt.Errorf("send routes to %q by its new rules: %w", n.Name, err)
	}
	return nil
}

// setWanted is called with peers held.
func (s *Speaker) setWanted(want []Neighbor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.neighbors = slices.Clone(want)
}

// addPeer is called with peers held.
func (s *Speaker) addPeer(ctx context.Context, b *server.BgpServer, n Neighbor) error {
	s.mu.Lock()
	session := s.sessions[n.Address]
	if session == nil {
		session = &Session{Neighbor: n.Name, Address: n.Address, ASN: n.ASN, Since: s.o.Now()}
		s.sessions[n.Address] = session
	}
	session.State, session.Error, session.flooded, session.protected = Idle, "", false, n.Password != "" || n.TTLSecurity
	s.mu.Unlock()
	if s.revivals[n.Address] == nil {
		s.revivals[n.Address] = &revival{}
	}
	r := s.revivals[n.Address]
	if s.held[n.Address] {
		return nil
	}
	if err := b.AddPeer(ctx, &api.AddPeerRequest{Peer: n.toPeer()}); err != nil {
		return fmt.Errorf("add neighbor %q at %q: %w", n.Name, n.Address, err)
	}
	r.added = true
	s.mu.Lock()
	why := session.Error
	s.mu.Unlock()
	if why != "" {
		// A session without the protection that was asked for is worse than none.
		return errors.Join(fmt.Errorf("neighbor %q at %q: %s", n.Name, n.Address, why), s.deletePeer(ctx, b, n))
	}
	return nil
}

// Reset ends the session with a neighbour at once, because its link has lost its carrier; it is begun anew like any
// session that ended. An address that is no neighbour's is nothing to do.
func (s *Speaker) Reset(addr netip.Addr, why string) error {
	s.mu.Lock()
	session := s.sessions[addr]
	up := session != nil && session.State == Established
	b := s.bgp
	s.mu.Unlock()
	if !up || b == nil {
		return nil
	}
	if err := b.ResetPeer(context.Background(), &api.ResetPeerRequest{Address: addr.String(), Communication: why}); err != nil {
		return fmt.Errorf("reset session with %q: %w", session.Neighbor, err)
	}
	return nil
}

// Reconnect begins the attempts to reach a neighbour anew, because its link has its carrier again: gobgp dials 1 to 2 s
// after a beginning, and as long after each attempt that failed while the link was away. An established session is left
// alone.
func (s *Speaker) Reconnect(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session := s.sessions[addr]; session == nil || session.State == Established || session.flooded {
		return
	}
	if !slices.Contains(s.again, addr) {
		s.again = append(s.again, addr)
	}
	s.nudge()
}

// deletePeer is called with peers held.
func (s *Speaker) deletePeer(ctx context.Context, b *server.BgpServer, n Neighbor) error {
	r := s.revivals[n.Address]
	if r == nil || !r.added {
		return nil
	}
	r.added = false
	if err := b.DeletePeer(ctx, &api.DeletePeerRequest{Address: n.Address.String()}); err != nil {
		return fmt.Errorf("remove neighbor %q at %q: %w", n.Name, n.Address, err)
	}
	return nil
}

func (n *Neighbor) toPeer() *api.Peer {
	hold := n.hold()
	p := &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: n.Address.String(), PeerAsn: n.ASN, AuthPassword: n.Password, Description: n.Name},
		Transport: &api.Transport{PassiveMode: n.Passive, RemotePort: uint32(n.Port)},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: uint64(hold / time.Second), KeepaliveInterval: uint64(cmp.Or(n.Keepalive, hold/3) / time.Second), ConnectRetry: 1,
		}},
		// Off on purpose: with graceful restart a dead POP stays routed for the whole restart time (design §6).
		GracefulRestart: &api.GracefulRestart{Enabled: false},
	}
	if n.Local.IsValid() {
		p.Transport.LocalAddress = n.Local.String()
	}
	if n.Multihop > 0 {
		p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(n.Multihop)}
	}
	if n.TTLSecurity {
		p.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 255}
	}
	for _, v4 := range []bool{true, false} {
		f := &api.AfiSafi{Config: &api.AfiSafiConfig{Family: family(v4), Enabled: true}}
		if n.MaxPrefixes > 0 {
			f.PrefixLimits = &api.PrefixLimit{Family: family(v4), MaxPrefixes: uint32(n.MaxPrefixes)}
		}
		p.AfiSafis = append(p.AfiSafis, f)
	}
	return p
}
