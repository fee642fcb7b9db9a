// Package fabric is the model network of a local lab: it carries every connection and datagram between nodes, clients and
// origins along the links that the lab's routers prefer at that moment, with those links' delay, jitter, loss and rate.
//
//	client (in the runner) ─┐                            ┌─ node's process, by a unix socket
//	origin (in the runner) ─┤  place ── walk of the  ── place
//	node's process ─────────┘          routers' best paths
//
// There are no packets of its own below: a flow is two byte streams, each with the delay of its own direction; routing is
// asked once for each flow and again whenever a router, a relay or a link changes.
//
//   - A flow whose address is now reached at another node is reset, as anycast does to it.
//   - A flow without a path, or across a blackholed link, stalls; the ends' own timeouts decide.
//   - A connection to where nobody listens is refused one round trip later; where a router has no route it is
//     unreachable; on a link that swallows everything it waits as TCP does, for its next SYN after 1, 2, 4 … s.
//
// The fabric also relays BGP between the ends of each link (relay.go) and lets people in (access.go).
package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// Limits of one fabric. What is beyond them fails as a host that runs out does: ENOBUFS for flows and sockets, silent
// loss for datagrams.
const (
	maxFlows     = 8192
	maxSockets   = 16384 // listeners and datagram sockets
	maxDatagrams = 16384 // on their way
	maxControls  = 16384 // connections of nodes to the runner
)

// Router is what the fabric asks a network's router: where addr goes. via is the name of a neighbouring network or node,
// "" when addr belongs to the router's own network. It must be fast and safe for concurrent use.
type Router interface {
	Lookup(addr netip.Addr) (via string, prefix netip.Prefix, ok bool)
}

// Options configures a Fabric. Topology and a Router for each of its networks are required.
type Options struct {
	Topology *topology.Topology
	Routers  map[string]Router // by network
	// Socket is the path of the unix socket at which nodes attach. Empty means that none do: all ends are in this
	// process, and nothing but memory is used.
	Socket string
	// Bind is the runner's address on the host, for datagrams of nodes; the zero value means 127.0.0.1.
	Bind   netip.Addr
	Events *event.Ring      // faults of links; nil discards
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil means time.Now; delays run on its scale
	Rand   func() float64   // jitter and loss: uniform in [0,1), safe for concurrent use; nil means math/rand/v2
}

// Fabric is the network of one lab. It is safe for concurrent use.
type Fabric struct {
	o     Options
	graph *graph
	log   *slog.Logger

	gen  atomic.Uint64 // of routing: bumped at every change
	wake chan struct{} // capacity 1: routing has changed
	path pathCache

	ready   chan struct{}
	done    chan struct{} // closed when Run ends
	running atomic.Bool
	workers sync.WaitGroup
	via     netip.AddrPort // the datagram socket's address
	udp     *net.UDPConn   // nil without Socket; set before ready

	mu        sync.Mutex // guards the following; never held across a system call
	closed    bool
	flows     map[*flow]struct{}
	conns     map[net.Conn]struct{} // of nodes, until they have become part of a flow
	sockets   map[socketKey]*socket
	bySource  map[netip.AddrPort]*socket // datagram sockets of nodes, by address on the host
	nextPort  uint16
	datagrams atomic.Int64

	adjacencies adjacencies
	faults      faults
}

// New checks the topology and wires the fabric; it starts nothing.
func New(o Options) (*Fabric, error) {
	if o.Topology == nil {
		return nil, errors.New("fabric without a topology")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if !o.Bind.IsValid() {
		o.Bind = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	g, err := newGraph(o.Topology, o.Routers)
	if err != nil {
		return nil, err
	}
	return &Fabric{
		o: o, graph: g, log: o.Logger, wake: make(chan struct{}, 1), ready: make(chan struct{}), done: make(chan struct{}),
		flows: map[*flow]struct{}{}, conns: map[net.Conn]struct{}{}, sockets: map[socketKey]*socket{}, bySource: map[netip.AddrPort]*socket{},
	}, nil
}

// Ready is closed once nodes can attach.
func (f *Fabric) Ready() <-chan struct{} { return f.ready }

// Run carries traffic until ctx is done, then resets all flows and returns when every goroutine of the fabric has ended.
// It may be called once. An error means that the socket could not be opened.
func (f *Fabric) Run(ctx context.Context) error {
	if !f.running.CompareAndSwap(false, true) {
		return errors.New("fabric was run before")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var socket net.Listener
	if f.o.Socket != "" {
		var err error
		if socket, err = f.open(ctx); err != nil {
			f.close()
			return err
		}
	}
	f.workers.Go(func() { f.move(ctx) })
	f.adjacencies.run(ctx, f)
	close(f.ready)
	<-ctx.Done()
	if socket != nil {
		_ = socket.Close()
		_ = f.udp.Close()
	}
	f.close()
	f.workers.Wait()
	return nil
}

// open listens for nodes. The goroutines that serve them end when the sockets are closed.
func (f *Fabric) open(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	socket, err := lc.Listen(ctx, "unix", f.o.Socket)
	if err != nil {
		return nil, fmt.Errorf("listen for nodes at %q: %w", f.o.Socket, err)
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.o.Bind, 0)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for datagrams of nodes at %q: %w", f.o.Bind, err), socket.Close())
	}
	_ = udp.SetReadBuffer(1 << 20) // best effort: a burst of 12 nodes' gossip
	at := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	f.udp, f.via = udp, netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	f.workers.Go(func() { f.serveNodes(socket) })
	f.workers.Go(func() { f.serveDatagrams(udp) })
	return socket, nil
}

// close ends everything that blocks a worker.
func (f *Fabric) close() {
	f.mu.Lock()
	f.closed = true
	var flows []*flow
	for fl := range f.flows {
		flows = append(flows, fl)
	}
	conns := f.conns
	f.conns = nil
	var sockets []*socket
	for _, s := range f.sockets {
		sockets = append(sockets, s)
	}
	f.mu.Unlock()
	close(f.done)
	for _, fl := range flows {
		fl.reset()
	}
	for c := range conns {
		_ = c.Close()
	}
	for _, s := range sockets {
		s.close()
	}
}

// RouteChanged tells that some router's best path has changed. Flows follow within a moment. It never blocks.
func (f *Fabric) RouteChanged() {
	f.gen.Add(1)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// move makes flows follow the routes, until ctx is done.
func (f *Fabric) move(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		f.mu.Lock()
		flows := make([]*flow, 0, len(f.flows))
		for fl := range f.flows {
			flows = append(flows, fl)
		}
		f.mu.Unlock()
		for _, fl := range flows {
			fl.reroute()
		}
	}
}
