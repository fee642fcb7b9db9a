//go:build linux

package speaker

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/osrg/gobgp/v3/pkg/packet/bmp"
	"github.com/osrg/gobgp/v3/pkg/packet/mrt"
)

// station is a BMP collector.
type station struct {
	addr string
	mu   sync.Mutex // guards the following
	seen []*bmp.BMPMessage
	open int
}

func newStation(t *testing.T) *station {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &station{addr: l.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.read(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return s
}

func (s *station) read(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	s.open++
	s.mu.Unlock()
	messages := bufio.NewScanner(conn)
	messages.Split(bmp.SplitBMP)
	for messages.Scan() {
		if m, err := bmp.ParseBMPMessage(slices.Clone(messages.Bytes())); err == nil {
			s.mu.Lock()
			s.seen = append(s.seen, m)
			s.mu.Unlock()
		}
	}
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
}

// has reports whether a message of that type came, and where it monitors a route, one of that prefix.
func (s *station) has(kind uint8, prefix string) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.seen, func(m *bmp.BMPMessage) bool {
			if m.Header.Type != kind {
				return false
			}
			r, ok := m.Body.(*bmp.BMPRouteMonitoring)
			return !ok || announces(r.BGPUpdate, prefix)
		})
	}
}

func announces(m *bgp.BGPMessage, prefix string) bool {
	u, ok := m.Body.(*bgp.BGPUpdate)
	return ok && slices.ContainsFunc(u.NLRI, func(n *bgp.IPAddrPrefix) bool { return n.String() == prefix })
}

// A collector hears of the session and of routes, ours and the neighbour's, from when it is named until it is not.
func TestBMP(t *testing.T) {
	one, two := newStation(t), newStation(t)
	s, p := rawSession(t, Options{Monitors: Monitors{BMP: []string{one.addr}}})
	p.send(t, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("198.51.100.0/24"))
	if err := s.Set([]Route{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: addrB}}); err != nil {
		t.Fatal(err)
	}
	hears := func(s *station) {
		t.Helper()
		await(t, "Initiation", s.has(bmp.BMP_MSG_INITIATION, ""))
		await(t, "Peer Up", s.has(bmp.BMP_MSG_PEER_UP_NOTIFICATION, ""))
		await(t, "the neighbour's route", s.has(bmp.BMP_MSG_ROUTE_MONITORING, "198.51.100.0/24"))
		await(t, "our route", s.has(bmp.BMP_MSG_ROUTE_MONITORING, "192.0.2.0/24"))
	}
	hears(one)
	if err := s.SetMonitors(Monitors{BMP: []string{two.addr}}); err != nil {
		t.Fatal(err)
	}
	hears(two)
	await(t, "the end of the first", func() bool {
		one.mu.Lock()
		defer one.mu.Unlock()
		return one.open == 0
	})
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:0", ":1"} {
		if err := s.SetMonitors(Monitors{BMP: []string{bad}}); err == nil {
			t.Errorf("collector %q was taken", bad)
		}
	}
	if got := s.Neighbors()[0].Downs; got != 0 {
		t.Errorf("the session ended %d times", got)
	}
}

// What a neighbour sends is in the file as it was on the wire. The speaker has a process of its own: gobgp never ends what
// writes the file.
func TestMRTFile(t *testing.T) {
	file := timeless(t)
	p, at := newRawPeer(t, netip.MustParseAddr("127.66.1.9"), 64496)
	host{}.speak(t, Options{
		ASN: 64500, RouterID: addrB, Monitors: Monitors{MRT: MRT{File: file}},
		Neighbors: []Neighbor{{Name: "raw", Address: at.Addr(), Port: at.Port(), ASN: 64496, Local: addrB}},
	})
	await(t, "session", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.up
	})
	want := netip.MustParsePrefix("198.51.100.0/24")
	p.send(t, want)
	await(t, "the UPDATE in the file", func() bool {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return slices.ContainsFunc(readMRT(t, f), func(m *bgp.BGPMessage) bool { return announces(m, want.String()) })
	})
}

func TestMRTFileStays(t *testing.T) {
	old := Monitors{MRT: MRT{File: "/var/log/a.mrt"}}
	s, err := New(Options{ASN: 64500, RouterID: addrB, Monitors: old})
	if err != nil {
		t.Fatal(err)
	}
	s.started = true
	if err := s.SetMonitors(Monitors{}); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("got %v, want an error that says to restart", err)
	}
	if s.monitors.MRT != old.MRT {
		t.Error("a refused change was noted")
	}
}

// timeless is a file whose path no layout of time.Format changes: gobgp writes the time into all of it.
func timeless(t *testing.T) string {
	t.Helper()
	name := make([]byte, 16)
	for i := range name {
		name[i] = byte('q' + rand.IntN(10))
	}
	dir := filepath.Join("/tmp", string(name))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "updates.mrt")
}

func readMRT(t *testing.T, r io.Reader) []*bgp.BGPMessage {
	t.Helper()
	var all []*bgp.BGPMessage
	for {
		head := make([]byte, mrt.MRT_COMMON_HEADER_LEN)
		if _, err := io.ReadFull(r, head); err != nil {
			return all
		}
		h := &mrt.MRTHeader{}
		if err := h.DecodeFromBytes(head); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, h.Len)
		if _, err := io.ReadFull(r, body); err != nil {
			return all
		}
		m, err := mrt.ParseMRTBody(h, body)
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := m.Body.(*mrt.BGP4MPMessage); ok {
			all = append(all, b.BGPMessage)
		}
	}
}
