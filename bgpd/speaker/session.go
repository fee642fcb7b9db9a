package speaker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// State is how far a session is (RFC 4271 §8.2.2).
type State string

// The states of a session.
const (
	Idle        State = "idle"
	Connect     State = "connect"
	Active      State = "active"
	OpenSent    State = "open-sent"
	OpenConfirm State = "open-confirm"
	Established State = "established"
)

var states = map[api.PeerState_SessionState]State{ //nolint:gochecknoglobals // a constant table
	api.PeerState_IDLE: Idle, api.PeerState_CONNECT: Connect, api.PeerState_ACTIVE: Active,
	api.PeerState_OPENSENT: OpenSent, api.PeerState_OPENCONFIRM: OpenConfirm, api.PeerState_ESTABLISHED: Established,
}

// Session is a neighbor and the state of the session with it.
type Session struct {
	Neighbor string     `json:"neighbor"`
	Address  netip.Addr `json:"address"`
	ASN      uint32     `json:"asn"`
	State    State      `json:"state"`
	Since    time.Time  `json:"since"`           // when it entered the state
	Downs    int        `json:"downs"`           // how often it was established and ended
	Cause    string     `json:"cause,omitempty"` // why it ended when it was last established; "" while it is
	Error    string     `json:"error,omitempty"` // why it may not come up: protection that could not be set

	protected bool   // MD5 or GTSM was asked for
	said      string // text of the notification that is ending it
	flooded   bool   // it sent more prefixes than it may
	ends      ends   // of its connection while it is established, if they are known
}

// Neighbors returns the wanted neighbors with their sessions, in the order in which they were set.
func (s *Speaker) Neighbors() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Session, 0, len(s.neighbors))
	for _, n := range s.neighbors {
		if have := s.sessions[n.Address]; have != nil {
			all = append(all, *have)
		} else {
			all = append(all, Session{Neighbor: n.Name, Address: n.Address, ASN: n.ASN, State: Idle})
		}
	}
	return all
}

func (s *Speaker) nameOf(addr netip.Addr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.sessions[addr]; have != nil {
		return have.Neighbor
	}
	return ""
}

// watch has gobgp tell us of sessions and best paths until ctx is done.
func (s *Speaker) watch(ctx context.Context, b *server.BgpServer) error {
	watched := &api.WatchEventRequest{Peer: &api.WatchEventRequest_Peer{}}
	if s.o.OnBest != nil {
		watched.Table = &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{{Type: api.WatchEventRequest_Table_Filter_BEST, Init: true}}}
	}
	err := b.WatchEvent(ctx, watched, func(e *api.WatchEventResponse) {
		if p := e.GetPeer(); p != nil {
			s.heardState(p.Peer.GetState(), endsOf(p.Peer))
		}
		for _, p := range e.GetTable().GetPaths() {
			s.heardBest(p)
		}
	})
	if err == nil && s.o.OnUpdate != nil {
		err = b.WatchEvent(ctx, &api.WatchEventRequest{
			Table: &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{{Type: api.WatchEventRequest_Table_Filter_ADJIN}}},
		}, func(e *api.WatchEventResponse) {
			for _, p := range e.GetTable().GetPaths() {
				if got, ok := fromPath(p, s.o.Now()); ok {
					got.From, got.Selected = neighborOf(p), false
					got.Neighbor = s.nameOf(got.From)
					s.o.OnUpdate(got)
				}
			}
		})
	}
	if err != nil {
		return fmt.Errorf("watch sessions and routes: %w", err)
	}
	return nil
}

// endsOf returns the ends of a session that has just been established; the zero value where they are not known.
func endsOf(p *api.Peer) ends {
	remote, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
	local, localErr := netip.ParseAddr(p.GetTransport().GetLocalAddress())
	if err != nil || localErr != nil || p.GetState().GetSessionState() != api.PeerState_ESTABLISHED {
		return ends{}
	}
	return ends{
		local:  netip.AddrPortFrom(local.Unmap().WithZone(""), uint16(p.Transport.LocalPort)),
		remote: netip.AddrPortFrom(remote.Unmap().WithZone(""), uint16(p.Transport.RemotePort)),
	}
}

func neighborOf(p *api.Path) netip.Addr {
	from, err := netip.ParseAddr(p.GetNeighborIp())
	if err != nil {
		return netip.Addr{}
	}
	return from.Unmap()
}

func (s *Speaker) heardBest(p *api.Path) {
	if s.o.OnBest == nil {
		return
	}
	if best, ok := fromPath(p, s.o.Now()); ok {
		best.Selected = true
		best.Neighbor = s.nameOf(best.From)
		s.o.OnBest(best)
	}
}

// heardState notes a session's state. gobgp tells no old state, and adding a neighbour tells Idle, too: a session has
// ended only if we have seen it above Idle.
func (s *Speaker) heardState(p *api.PeerState, at ends) {
	addr, err := netip.ParseAddr(p.GetNeighborAddress())
	state, known := states[p.GetSessionState()]
	if err != nil || !known {
		return // the marker that ends gobgp's initial list
	}
	s.mu.Lock()
	session := s.sessions[addr.Unmap()]
	if session == nil || session.State == state {
		s.mu.Unlock()
		return
	}
	if session.State == Established {
		session.Downs++
	}
	if state == Established {
		session.Cause = ""
	}
	session.State, session.Since, session.ends = state, s.o.Now(), at
	if state == Idle && !slices.Contains(s.down, session.Address) {
		s.down = append(s.down, session.Address)
	}
	now := *session
	s.mu.Unlock()
	if state == Idle || state == Established {
		s.nudge()
	}
	if s.o.OnSession != nil {
		s.o.OnSession(now)
	}
}

// sessionOf returns the session of a neighbour that gobgp's log lines name by its address, or nil. It is called with mu
// held.
func (s *Speaker) sessionOf(key string) *Session {
	addr, err := netip.ParseAddr(key)
	if err != nil {
		return nil
	}
	return s.sessions[addr.Unmap()]
}

// said is told by gobgp's log line the text of a notification, ours or the neighbour's.
func (s *Speaker) said(key, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session := s.sessionOf(key); session != nil {
		session.said = text
	}
}

// tooManyPrefixes is how gobgp words the Cease for a neighbour that sends more than it may.
const tooManyPrefixes = "maximum number of prefixes reached"

// ended is told by gobgp's log line, before its event, why an established session ended.
func (s *Speaker) ended(key, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.sessionOf(key)
	if session == nil {
		return
	}
	session.Cause = strings.ReplaceAll(why, "-", " ")
	if session.said != "" {
		session.Cause += ": " + strconv.Quote(session.said)
		session.said = ""
	}
	if strings.HasPrefix(why, "notification-sent") && strings.Contains(why, tooManyPrefixes) {
		session.flooded = true
		session.Error = "it sent more prefixes than it may; it is tried again after a pause"
	}
}

func (s *Speaker) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// unprotected is told by gobgp's log line, from within gobgp, that MD5 or GTSM could not be set. The key is the
// neighbour's address, or a listener's. A session that came up so is begun anew rather than kept.
func (s *Speaker) unprotected(key, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := netip.ParseAddr(key); err != nil {
		s.listenerError = why
		return
	}
	if session := s.sessionOf(key); session != nil && session.protected {
		session.Error = why
		if !slices.Contains(s.down, session.Address) {
			s.down = append(s.down, session.Address)
		}
		s.nudge()
	}
}

// The pause before a lost session's neighbour is added again: it doubles from the first to the second with every
// attempt that does not come up, and is drawn from 0.5 to 1.5 times that, so that two ends do not chase each other.
// It is short on purpose. Where both ends are passive and a link dials them, an end that is ready is thrown back as
// soon as the link connects it to one that is not: pauses that are long against the link's dialling would make both
// miss each other for seconds. An end that dials waits 1 to 2 s for gobgp before each attempt, so short is not often.
const (
	reviveFirst = 10 * time.Millisecond
	reviveMax   = 40 * time.Millisecond
)

// The pause after a neighbour has sent more prefixes than it may: it doubles from the first to the second, and begins
// anew when the last time is longer ago than the third.
const (
	floodFirst  = time.Minute
	floodMax    = 30 * time.Minute
	floodForget = 2 * time.Hour
)

// revival is the state of bringing one session back.
type revival struct {
	added    bool // gobgp has the neighbour
	attempts int
	floods   int       // times that it sent too many prefixes
	flooded  time.Time // the last of them
	due      time.Time // zero when nothing is to be done
}

// pause returns how long to wait before the neighbour is added again, and counts.
func (r *revival) pause(now time.Time, flooded bool, first time.Duration) time.Duration {
	if !flooded {
		r.attempts++
		return min(reviveFirst<<min(r.attempts-1, 10), reviveMax)
	}
	if now.Sub(r.flooded) > floodForget {
		r.floods = 0
	}
	r.floods, r.flooded = r.floods+1, now
	return min(first<<min(r.floods-1, 10), floodMax)
}

// revive brings lost sessions back until ctx is done. gobgp would idle 5 s, and up to 2 s more before it dials;
// a neighbour that is deleted and added again starts at once.
func (s *Speaker) revive(ctx context.Context, b *server.BgpServer) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		if next := s.reviveDue(ctx, b, time.Now()); !next.IsZero() {
			timer.Reset(max(0, time.Until(next)))
		}
	}
}

// reviveDue adds the neighbours again whose pause is over, and returns when the next one's is, or zero.
func (s *Speaker) reviveDue(ctx context.Context, b *server.BgpServer, now time.Time) (next time.Time) {
	s.peers.Lock()
	defer s.peers.Unlock()
	if s.closing {
		return time.Time{}
	}
	s.mu.Lock()
	down, again := s.down, s.again
	s.down, s.again = nil, nil
	up, flooded := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for addr, session := range s.sessions {
		up[addr], flooded[addr] = session.State == Established, session.flooded
	}
	s.mu.Unlock()
	for _, n := range s.neighbors {
		r := s.revivals[n.Address]
		if r == nil || s.held[n.Address] {
			continue
		}
		if up[n.Address] {
			r.attempts = 0
		}
		if slices.Contains(down, n.Address) && r.due.IsZero() {
			pause := r.pause(now, flooded[n.Address], s.o.floodFirst)
			r.due = now.Add(time.Duration((0.5 + rand.Float64()) * float64(pause))) //nolint:gosec // jitter
		}
		if slices.Contains(again, n.Address) {
			r.due = now
		}
		switch {
		case r.due.IsZero():
			continue
		case r.due.After(now):
			if next.IsZero() || r.due.Before(next) {
				next = r.due
			}
			continue
		}
		r.due = time.Time{}
		if err := errors.Join(s.deletePeer(ctx, b, n), s.addPeer(ctx, b, n)); err != nil {
			s.o.Logger.Error("session cannot be brought back", "peer", n.Name, "error", err)
		}
	}
	return next
}
