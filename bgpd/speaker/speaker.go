package speaker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// Speaker holds BGP sessions and announces routes. Its methods are safe for concurrent use.
//
// Lock order: peers before mu, routes before mu. Callbacks are called with none of them held.
type Speaker struct {
	o        Options
	feedsBMP atomic.Bool

	peers     sync.Mutex // guards the following; held over calls of gobgp that change neighbours
	neighbors []Neighbor // wanted; whoever writes it holds mu, too, so that a reader may hold either
	revivals  map[netip.Addr]*revival
	held      map[netip.Addr]bool // not brought up until Release
	monitors  Monitors
	guarded   bool // the listeners ask for a TTL
	started   bool // Run has put neighbors in force
	closing   bool // no neighbour is added any more

	routes     sync.Mutex             // guards the following; held over calls of gobgp that change routes
	wanted     map[netip.Prefix]Route // nil once Run has ended
	allowed    []netip.Prefix         // nil allows all
	announcing bool                   // what is wanted goes on the wire

	mu            sync.Mutex // guards the following; held for a read or a write
	bgp           *server.BgpServer
	listen        []netip.AddrPort
	listenerError string // of a listener that could not be prepared for GTSM
	sessions      map[netip.Addr]*Session
	down          []netip.Addr  // sessions that ended since revive last looked; at most one entry a neighbor
	again         []netip.Addr  // neighbours to be begun anew at once; at most one entry a neighbor
	wake          chan struct{} // capacity 1: down or again has grown, or a session has changed
}

// New checks the options and starts nothing.
func New(o Options) (*Speaker, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.tryProtection == nil {
		o.tryProtection = tryProtection
	}
	o.floodFirst = cmp.Or(o.floodFirst, floodFirst)
	s := &Speaker{
		o: o, neighbors: slices.Clone(o.Neighbors), allowed: slices.Clone(o.Allowed), monitors: o.Monitors,
		revivals: map[netip.Addr]*revival{}, held: map[netip.Addr]bool{},
		wanted: map[netip.Prefix]Route{}, sessions: map[netip.Addr]*Session{}, wake: make(chan struct{}, 1),
	}
	s.feedsBMP.Store(len(o.Monitors.BMP) > 0)
	return s, nil
}

// pickTries bounds the search for a port that is free on all addresses of Listen.
const pickTries = 8

var errStarted = errors.New("the speaker runs already, or has run: make a new one")

// Listen starts the library and opens the listeners, and no session yet. Run calls it if nobody has. Where several
// speakers share a process, call Listen on each before Run on any: gobgp keeps its best-path options in package
// variables that it writes here and reads whenever a route changes.
func (s *Speaker) Listen(ctx context.Context) error {
	s.peers.Lock()
	defer s.peers.Unlock()
	if s.library() != nil {
		return errStarted
	}
	if err := s.checkProtection(s.neighbors); err != nil {
		return err
	}
	b := server.NewBgpServer(server.LoggerOption(&logger{to: s.o.Logger, unprotected: s.unprotected, said: s.said, ended: s.ended}))
	go b.Serve() // gobgp gives no way to end it; it sleeps once StopBgp has been called
	listen, err := s.open(ctx, b)
	if err == nil {
		err = s.guard(listen, s.neighbors)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bgp, s.listen = b, listen
	if err == nil && s.listenerError != "" && slices.ContainsFunc(s.neighbors, func(n Neighbor) bool { return n.TTLSecurity }) {
		err = fmt.Errorf("listen for BGP on %v: %s", listen, s.listenerError)
	}
	return err
}

func (s *Speaker) open(ctx context.Context, b *server.BgpServer) ([]netip.AddrPort, error) {
	var listen []netip.AddrPort
	var err error
	for range pickTries {
		if listen, err = pickPort(ctx, s.o.Listen); err != nil {
			return nil, err
		}
		if err = b.StartBgp(ctx, s.global(listen)); err == nil {
			return listen, nil
		}
		_ = b.StopBgp(ctx, &api.StopBgpRequest{}) // for listeners that did open before the one that failed
		if s.o.Listen[0].Port() != 0 {
			break
		}
	}
	return nil, fmt.Errorf("listen for BGP on %v: %w", listen, err)
}

func (s *Speaker) global(listen []netip.AddrPort) *api.StartBgpRequest {
	g := &api.Global{
		Asn: s.o.ASN, RouterId: s.o.RouterID.String(), ListenPort: -1,
		// Of two equal paths the one of the lower router id is best (RFC 4271 §9.1.2.2 f), not the older one: where a
		// lab's clients land must not depend on who came up first.
		RouteSelectionOptions: &api.RouteSelectionOptionsConfig{ExternalCompareRouterId: true},
	}
	for _, l := range listen {
		g.ListenAddresses = append(g.ListenAddresses, l.Addr().String())
		g.ListenPort = int32(l.Port())
	}
	return &api.StartBgpRequest{Global: g}
}

// pickPort replaces port 0, which gobgp takes for 179, by a port that was free a moment ago.
func pickPort(ctx context.Context, want []netip.AddrPort) ([]netip.AddrPort, error) {
	if len(want) == 0 || want[0].Port() != 0 {
		return want, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", want[0].String())
	if err != nil {
		return nil, fmt.Errorf("listen for BGP on %q: %w", want[0], err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	got := make([]netip.AddrPort, len(want))
	for i, w := range want {
		got[i] = netip.AddrPortFrom(w.Addr(), port)
	}
	return got, nil
}

// checkProtection refuses neighbours whose MD5 or GTSM could not be in force: where the kernel cannot set them, and where
// Go's listeners are Multipath TCP, on which the kernel refuses both. gobgp logs that and goes on, and the sessions come
// up unprotected.
func (s *Speaker) checkProtection(neighbors []Neighbor) error {
	var errs []error
	var lc net.ListenConfig
	for _, n := range neighbors {
		if len(s.o.Listen) > 0 && lc.MultipathTCP() && (n.Password != "" || n.TTLSecurity) {
			errs = append(errs, fmt.Errorf("neighbor %q: MD5 and TTL security cannot be set on a listener of Multipath TCP; set GODEBUG=multipathtcp=0", n.Name))
			continue
		}
		if why := s.listenerProblem(); why != "" && n.TTLSecurity {
			errs = append(errs, fmt.Errorf("neighbor %q: TTL security is not in force on the listener: %s", n.Name, why))
		}
		errs = append(errs, s.o.tryProtection(n))
	}
	return errors.Join(errs...)
}

// guard has the listeners ask for TTL security, if it is or was asked for. It is called with peers held.
func (s *Speaker) guard(listen []netip.AddrPort, neighbors []Neighbor) error {
	asked := slices.ContainsFunc(neighbors, func(n Neighbor) bool { return n.TTLSecurity })
	if !asked && !s.guarded {
		return nil
	}
	s.guarded = true
	return guardListeners(listen, neighbors)
}

func (s *Speaker) listenerProblem() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listenerError
}

// Addrs returns the addresses of the listeners with their real port, or nil before Listen.
func (s *Speaker) Addrs() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.listen)
}

// Run holds the sessions and announces what Set wants until ctx is done; then it closes every session with a Cease
// notification and returns. A Speaker runs once.
func (s *Speaker) Run(ctx context.Context) error {
	if s.library() == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	b := s.library()
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	defer func() { _ = b.StopBgp(watching, &api.StopBgpRequest{}) }()
	defer s.hangUp(watching, b)
	defer s.close()
	if err := s.start(watching, b); err != nil {
		return err
	}
	if s.o.Ready != nil {
		s.o.Ready()
	}
	s.revive(ctx, b)
	return nil
}

// start puts everything in force that was wanted before Run: rules, then routes, then sessions, so that a neighbour's
// first update is whole.
func (s *Speaker) start(ctx context.Context, b *server.BgpServer) error {
	s.peers.Lock()
	defer s.peers.Unlock()
	if s.started || s.closing {
		return errStarted
	}
	s.started = true
	if err := setPolicies(ctx, b, s.o.ASN, s.neighbors); err != nil {
		return err
	}
	if err := s.watch(ctx, b); err != nil {
		return err
	}
	if err := s.startRoutes(b); err != nil {
		return err
	}
	if err := monitor(ctx, b, Monitors{}, s.monitors); err != nil {
		return err
	}
	for _, n := range s.neighbors {
		if err := s.addPeer(ctx, b, n); err != nil {
			return err
		}
	}
	return nil
}

// close stops neighbours from being added again, which would race with the library's end.
func (s *Speaker) close() {
	s.peers.Lock()
	s.closing = true
	s.peers.Unlock()
	s.routes.Lock()
	s.wanted = nil
	s.routes.Unlock()
}

// library returns gobgp's server, or nil before Listen.
func (s *Speaker) library() *server.BgpServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bgp
}

// shutdownTextMax is the longest text of a shutdown in bytes (RFC 9003 §2).
const shutdownTextMax = 255

// Shutdown closes every session with a Cease that says why (RFC 9003) and returns when all are closed or ctx is done.
// The sessions stay closed; end Run's context next.
func (s *Speaker) Shutdown(ctx context.Context, text string) error {
	text = strings.ToValidUTF8(text[:min(len(text), shutdownTextMax)], "")
	s.peers.Lock()
	b := s.library()
	nothing := !s.started || s.closing
	s.closing = true
	neighbors := slices.Clone(s.neighbors)
	s.peers.Unlock()
	if nothing {
		return nil
	}
	return s.disable(ctx, b, neighbors, text)
}

// hangUpWithin bounds the end of a speaker whose sessions do not close.
const hangUpWithin = 500 * time.Millisecond

// hangUp closes every session and waits until nobody reads from one. StopBgp closes them, too, but resets the options
// that gobgp's readers look at with each update while they still run: a data race of the library (v3.37.0).
func (s *Speaker) hangUp(ctx context.Context, b *server.BgpServer) {
	ctx, cancel := context.WithTimeout(ctx, hangUpWithin)
	defer cancel()
	s.peers.Lock()
	neighbors, monitors := slices.Clone(s.neighbors), s.monitors
	s.peers.Unlock()
	if err := s.disable(ctx, b, neighbors, ""); err != nil {
		s.o.Logger.Debug("sessions closed by force", "error", err)
	}
	if err := monitor(ctx, b, monitors, Monitors{}); err != nil {
		s.o.Logger.Debug("monitors closed by force", "error", err)
	}
}

// disable closes the sessions with these neighbours and returns when no session is left or ctx is done.
func (s *Speaker) disable(ctx context.Context, b *server.BgpServer, neighbors []Neighbor, text string) error {
	var errs []error
	for _, n := range neighbors {
		if err := b.DisablePeer(ctx, &api.DisablePeerRequest{Address: n.Address.String(), Communication: text}); err != nil {
			errs = append(errs, fmt.Errorf("close session with %q: %w", n.Name, err))
		}
	}
	for s.established() > 0 {
		select {
		case <-ctx.Done():
			return errors.Join(append(errs, fmt.Errorf("close sessions: %w", ctx.Err()))...)
		case <-time.After(shutdownPoll):
		}
	}
	return errors.Join(errs...)
}

// shutdownPoll is how often Shutdown looks whether the sessions are closed; each closes in under 1 ms as a rule.
const shutdownPoll = 2 * time.Millisecond

func (s *Speaker) established() int {
	n := 0
	for _, v := range s.Neighbors() {
		if v.State == Established {
			n++
		}
	}
	return n
}
