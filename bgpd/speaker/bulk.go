package speaker

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// gobgp v3 makes an UPDATE of each prefix that changes and writes each by itself, 10 to 15 µs of processor time a prefix
// (docs/decisions/033). A POP that withdraws a thousand would have its last one on the wire after tens of milliseconds. So
// many withdrawals are told twice, by us and then by gobgp, on the session's own connection:
//
//	Set(nothing) ──► UPDATE, withdrawn 800 · UPDATE, withdrawn 200     ours, in one write
//	             ──► UPDATE, withdrawn 1 · UPDATE, withdrawn 1 · …     gobgp's, in full segments
//
// What the neighbour ends up with is what gobgp says, and in its order: ours only says a part of it earlier.

// bulkLeast is from how many prefixes on changes are many.
const bulkLeast = 32

// ends are the two ends of a session's connection.
type ends struct{ local, remote netip.AddrPort }

// bulk holds the connections of sessions for the time of many changes.
type bulk []socket

// socket is the connection of a session.
type socket struct {
	fd       int
	neighbor string // its address, as gobgp calls it
}

// openBulk finds the sockets of all established sessions, and has what is written to them wait for full segments.
func (s *Speaker) openBulk() bulk {
	var all bulk
	for _, at := range s.connections() {
		fd, err := openSocket(at.local, at.remote)
		if err != nil {
			s.o.Logger.Debug("many changes go out one by one", "error", err)
			continue
		}
		all = append(all, socket{fd: fd, neighbor: at.remote.Addr().String()})
		cork(fd, true)
	}
	return all
}

// close sends what waits, and leaves the sockets alone.
func (b bulk) close() {
	for _, to := range b {
		cork(to.fd, false)
		closeSocket(to.fd)
	}
}

// withdrawEarly tells every neighbour at once. One that is busy hears of it from gobgp alone.
func (s *Speaker) withdrawEarly(all bulk, gone []netip.Prefix) {
	if len(gone) < bulkLeast || !s.passesNothingOn() {
		return
	}
	for _, to := range all {
		four, six, err := s.takes(to.neighbor)
		if err == nil {
			err = tell(to.fd, withdrawals(gone, four, six))
		}
		if err != nil {
			s.o.Logger.Debug("withdrawals go out one by one", "error", err)
		}
	}
}

// takes asks which families a neighbour has said to take; one that says nothing of families takes IPv4 (RFC 4760 §8).
// Where gobgp feeds BMP nobody is asked: to list a neighbour writes to the OPEN that is encoded there, a data race of the
// library (v3.37.0).
func (s *Speaker) takes(neighbor string) (four, six bool, err error) {
	if s.feedsBMP.Load() {
		return false, false, errors.New("gobgp feeds BMP")
	}
	said := false
	var unread error
	err = s.library().ListPeer(context.Background(), &api.ListPeerRequest{Address: neighbor}, func(p *api.Peer) {
		var caps []bgp.ParameterCapabilityInterface
		caps, unread = apiutil.UnmarshalCapabilities(p.GetState().GetRemoteCap())
		for _, c := range caps {
			if mp, ok := c.(*bgp.CapMultiProtocol); ok {
				said = true
				four, six = four || mp.CapValue == bgp.RF_IPv4_UC, six || mp.CapValue == bgp.RF_IPv6_UC
			}
		}
	})
	return four || !said, six, errors.Join(err, unread)
}

// connections are those of the established sessions.
func (s *Speaker) connections() []ends {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []ends
	for _, session := range s.sessions {
		if session.State == Established && session.ends.local.IsValid() {
			all = append(all, session.ends)
		}
	}
	return all
}

// passesNothingOn reports whether all that neighbours hear of us is our own. Where it is not, another path may take the
// place of one that we withdraw, and only gobgp knows.
func (s *Speaker) passesNothingOn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.neighbors, func(n Neighbor) bool { return n.Relation != None })
}

// The sizes and codes of an UPDATE that withdraws (RFC 4271 §4.1, §4.3; RFC 4760 §4).
const (
	messageMax    = 4096
	headerSize    = 19
	updateCode    = 2
	unreachFlags  = 0x90 // optional, with a length of two octets
	unreachCode   = 15
	afi6          = 2
	safiUnicast   = 1
	unreachFamily = 3 // octets before the prefixes
)

// withdrawals writes UPDATE messages that withdraw the prefixes of the families that are asked for, as few as do.
func withdrawals(gone []netip.Prefix, four, six bool) []byte {
	var out []byte
	if four {
		out = appendUpdates(out, gone, true, func(nlri []byte) []byte {
			body := binary.BigEndian.AppendUint16(nil, uint16(len(nlri)))
			return append(append(body, nlri...), 0, 0)
		})
	}
	if six {
		out = appendUpdates(out, gone, false, func(nlri []byte) []byte {
			body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(4+unreachFamily+len(nlri)))
			body = binary.BigEndian.AppendUint16(append(body, unreachFlags, unreachCode), uint16(unreachFamily+len(nlri)))
			return append(append(body, 0, afi6, safiUnicast), nlri...)
		})
	}
	return out
}

// appendUpdates fills messages with the prefixes of a family; body makes one of what fits.
func appendUpdates(out []byte, gone []netip.Prefix, v4 bool, body func(nlri []byte) []byte) []byte {
	const room = messageMax - headerSize - 4 - 4 - unreachFamily
	var nlri []byte
	flush := func() {
		if len(nlri) == 0 {
			return
		}
		b := body(nlri)
		for range 16 {
			out = append(out, 0xff) // the marker
		}
		out = binary.BigEndian.AppendUint16(out, uint16(headerSize+len(b)))
		out = append(append(out, updateCode), b...)
		nlri = nlri[:0]
	}
	for _, p := range gone {
		if p.Addr().Is4() != v4 {
			continue
		}
		encoded := encodePrefix(p)
		if len(nlri)+len(encoded) > room {
			flush()
		}
		nlri = append(nlri, encoded...)
	}
	flush()
	return out
}
