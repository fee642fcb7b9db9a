package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// hub is the part of a node that there is once: it lives in the process that speaks BGP.
type hub struct {
	o     *Options
	self  *topology.Node
	judge *judge
	bgp   *bgpd.Server
	pools *pools
	admin *admin.Server
	since time.Time
	ready func() // called once the hub's own sockets are open; may be nil

	snap   atomic.Pointer[control.Snapshot]
	claims chan []netip.Prefix // capacity 1: the newest claims of bgpd, on their way to the judge

	mu    sync.Mutex // guards ports and what they hold
	ports map[health.Service]*port
}

// port is where a daemon is attached to the hub, by a socket or by a function call.
type port struct {
	service health.Service
	sink    func(update) // must not block
	said    report
}

func newHub(o *Options, snap *control.Snapshot, self *topology.Node) (*hub, error) {
	h := &hub{o: o, self: self, ports: map[health.Service]*port{}, claims: make(chan []netip.Prefix, 1), since: o.now()}
	h.snap.Store(snap)
	h.judge = newJudge(snap.Topology, self, o.Net, o)
	var err error
	if h.bgp, err = bgpd.New(bgpd.Options{
		Node: self.Name, Listen: o.BGPListen, Neighbors: o.Neighbors,
		Logger: o.Logger, Events: o.Events, Registerer: o.Registry, Now: o.Now,
		OnClaims: h.claimed, Quiet: h.lastRequest,
	}); err != nil {
		return nil, err
	}
	if err := h.bgp.Apply(snap.Topology); err != nil {
		return nil, err
	}
	if h.pools, err = newPools(h); err != nil {
		return nil, err
	}
	if h.admin, err = admin.New(admin.Options{Socket: o.Admin, Logger: o.Logger}); err != nil {
		return nil, err
	}
	h.routes()
	h.judge.onView = h.viewed
	h.judge.onRecord = h.pools.ownChanged
	h.viewed(h.judge.seen.Load())
	return h, nil
}

// viewed hands a new View to everyone who acts on it. The speaker comes first: a withdrawal waits for nobody.
func (h *hub) viewed(v *health.View) {
	h.bgp.SetView(v)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.ports {
		p.sink(update{View: v})
	}
}

// claimed takes what bgpd has on the wire. It is called from within SetView, so it only leaves a note; the newest wins.
func (h *hub) claimed(prefixes []netip.Prefix) {
	for {
		select {
		case h.claims <- prefixes:
			return
		default:
		}
		select {
		case <-h.claims:
		default:
		}
	}
}

func (h *hub) takeClaims(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-h.claims:
			h.judge.setClaims(c)
		}
	}
}

// attach joins a daemon to the hub. The sink gets the present Snapshot and View at once, then each newer one.
func (h *hub) attach(s health.Service, sink func(update)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ports[s] != nil {
		return fmt.Errorf("attach %s: another one is attached", serviceName(s))
	}
	h.ports[s] = &port{service: s, sink: sink}
	snap := h.snap.Load()
	sink(update{Name: snap.Topology.Name, Files: snap.Files, View: h.judge.seen.Load()})
	return nil
}

// heard takes a daemon's report.
func (h *hub) heard(s health.Service, r report) {
	h.mu.Lock()
	p := h.ports[s]
	if p == nil {
		h.mu.Unlock()
		return
	}
	was := p.said
	p.said = r
	h.mu.Unlock()
	if r.Ready && !was.Ready {
		h.judge.ready(s)
	}
	if r.Draining != was.Draining {
		h.judge.draining(s, r.Draining, serviceName(s)+" is stopping")
	}
	if r.Refused != "" && r.Refused != was.Refused {
		h.o.Events.Add(event.Event{Kind: event.Config, Subject: serviceName(s), State: "refused", Cause: r.Refused})
	}
}

// lost is the lifeline's end: the daemon is gone, and its prefixes are withdrawn before this returns.
func (h *hub) lost(s health.Service, why string) {
	h.judge.lost(s, why)
	h.o.Events.Add(event.Event{Kind: event.Process, Subject: serviceName(s), State: "gone", Cause: why})
	h.mu.Lock()
	delete(h.ports, s)
	h.mu.Unlock()
}

// lastRequest is when the last client request on an anycast address reached any daemon of this node.
func (h *hub) lastRequest() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	var last time.Time
	for _, p := range h.ports {
		last = later(last, p.said.Last)
	}
	return last
}

// acceptLinks serves the daemons that run in processes of their own.
func (h *hub) acceptLinks(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var links sync.WaitGroup
	defer links.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept on link: %w", err)
		}
		links.Go(func() { h.serveLink(ctx, conn) })
	}
}

func (h *hub) serveLink(ctx context.Context, conn net.Conn) {
	var service health.Service
	box := newMailbox()
	err := serveLink(ctx, conn, box, func(r report) {
		if service == "" {
			if err := h.accept(r, box); err != nil {
				h.o.Logger.Warn("link refused", "service", string(r.Service), "error", err)
				conn.Close()
				return
			}
			service = r.Service
		}
		h.heard(service, r)
	})
	if service != "" && ctx.Err() == nil {
		h.lost(service, fmt.Sprintf("%s died: its link closed (%s)", serviceName(service), errText(err)))
	}
}

func (h *hub) accept(r report, box *mailbox) error {
	if r.Node != h.self.Name {
		return fmt.Errorf("it is of node %q, this hub of %q", r.Node, h.self.Name)
	}
	if r.Service != health.DNS && r.Service != health.Web {
		return fmt.Errorf("unknown service %q", r.Service)
	}
	return h.attach(r.Service, box.put)
}

// reload takes a Snapshot that the watcher has read. What cannot be applied whole is not applied at all.
func (h *hub) reload(snap *control.Snapshot, err error) {
	old := h.snap.Load()
	if err == nil {
		err = h.adopt(old, snap)
	}
	if err != nil {
		h.o.Logger.Error("configuration refused; the last one stays in force", "error", err)
		h.o.Events.Add(event.Event{Kind: event.Config, Subject: "snapshot", State: "refused", Cause: err.Error()})
		return
	}
	h.o.Events.Add(event.Event{Kind: event.Config, Subject: "snapshot", State: "applied", Detail: map[string]string{"digest": snap.Digest}})
}

// adopt checks what a running node cannot take up before it changes anything.
func (h *hub) adopt(old, snap *control.Snapshot) error {
	if snap.Digest == old.Digest {
		return nil
	}
	self := snap.Topology.Node(h.self.Name)
	if self == nil || !slices.Equal(self.Addrs, h.self.Addrs) || self.POP.Name != h.self.POP.Name || snap.Topology.ASN != old.Topology.ASN {
		return fmt.Errorf("this node (%s) has gone from the topology, or its addresses, its POP or the ASN have changed: restart it to take that up", h.self.Name)
	}
	if _, err := dnsConfig(snap, h.self.Name, h.o.MMDB); err != nil {
		return err
	}
	if err := h.bgp.Apply(snap.Topology); err != nil {
		return err
	}
	if err := control.Save(h.o.State, snap); err != nil {
		return err
	}
	h.snap.Store(snap)
	h.judge.adopt(snap.Topology)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.ports {
		p.sink(update{Name: snap.Topology.Name, Files: snap.Files})
	}
	return nil
}

// run runs the hub's parts until ctx is done.
func (h *hub) run(ctx context.Context) error {
	parts := []func(context.Context) error{
		part("health", h.judge.run),
		part("bgpd", h.bgp.Run),
		part("gossip", h.pools.run),
		part("admin", h.admin.Run),
		part("control", h.watch),
		h.takeClaims,
	}
	if h.ready != nil {
		h.ready()
	}
	return runAll(ctx, parts...)
}

// watch follows the configuration's folder.
func (h *hub) watch(ctx context.Context) error {
	return control.Watch(ctx, h.o.Dir, control.WatchOptions{Digest: h.snap.Load().Digest}, h.reload)
}

// noteLast keeps the time of a daemon's last client request, where the link is a function call.
func (h *hub) noteLast(s health.Service, last time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.ports[s]; p != nil {
		p.said.Last = last
	}
}

// drain tells the fleet that this node is going, moves its clients away and returns when nothing is announced any more.
func (h *hub) drain(ctx context.Context) error {
	h.o.Events.Add(event.Event{Kind: event.Process, Subject: h.self.Name, State: "draining", Cause: "told to stop"})
	h.judge.leave("the node is shutting down")
	if err := h.bgp.Drain(ctx); err != nil {
		return fmt.Errorf("drain bgpd: %w", err)
	}
	return h.pools.leave(ctx)
}
