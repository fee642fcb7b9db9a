package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/dnsd"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/topology"
)

// Node is all daemons of one node in one process; the link is a function call.
type Node struct {
	hub *hub
	dns *dnsDaemon
	web *webDaemon

	readyOnce sync.Once
	mu        sync.Mutex // guards addrs, waiting
	addrs     []string
	waiting   int // parts that do not listen yet
}

// New checks the configuration and wires a whole node; it opens nothing.
func New(o Options) (*Node, error) {
	snap, self, err := o.setDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{waiting: 2}
	if n.dns, err = newDNS(&o, self, n.listening(&o)); err != nil {
		return nil, err
	}
	if n.web, err = newWeb(&o, self, n.listening(&o)); err != nil {
		return nil, err
	}
	if err := applyAll(snap, n.dns, n.web); err != nil {
		return nil, err
	}
	if n.hub, err = newHub(&o, snap, self); err != nil {
		return nil, err
	}
	return n, nil
}

func applyAll(snap *control.Snapshot, daemons ...daemon) error {
	for _, d := range daemons {
		if err := d.Apply(snap.Topology.Name, snap.Files); err != nil {
			return err
		}
	}
	return nil
}

func newDNS(o *Options, self *topology.Node, ready func(health.Service, []string)) (*dnsDaemon, error) {
	srv, err := dnsd.New(dnsd.Options{
		Node: self.Name, POP: self.POP.Name, Net: o.Net, Logger: o.Logger, Events: o.Events, Registerer: o.Registry,
		Ready: func(addrs []string) { ready(health.DNS, addrs) },
	})
	if err != nil {
		return nil, err
	}
	return &dnsDaemon{Server: srv, node: self.Name, mmdb: o.MMDB}, nil
}

func newWeb(o *Options, self *topology.Node, ready func(health.Service, []string)) (*webDaemon, error) {
	po := popd.Options{
		Node: self.Name, POP: self.POP.Name, Net: o.Net, Memory: o.Memory, Insecure: o.Insecure, Logger: o.Logger, Events: o.Events, Registerer: o.Registry, Now: o.Now,
		Ready: func(addrs []string) { ready(health.Web, addrs) },
	}
	if o.Keys != nil {
		po.ServerTLS, po.ClientTLS = o.Keys.TLSServer, o.Keys.TLSClient
	}
	srv, err := popd.New(po)
	if err != nil {
		return nil, err
	}
	return &webDaemon{Server: srv, node: self.Name}, nil
}

// listening gathers the addresses of the daemons and tells once all of them listen.
func (n *Node) listening(o *Options) func(health.Service, []string) {
	return func(s health.Service, addrs []string) {
		n.hub.heard(s, report{Service: s, Node: n.hub.self.Name, Ready: true})
		n.mu.Lock()
		n.addrs = append(n.addrs, addrs...)
		n.waiting--
		all := n.addrs
		done := n.waiting == 0
		n.mu.Unlock()
		if done && o.Ready != nil {
			n.readyOnce.Do(func() { o.Ready(all) })
		}
	}
}

// Run runs the node until ctx is done, which means stop now. A daemon that cannot go on ends the node with its error.
func (n *Node) Run(ctx context.Context) error {
	h := n.hub
	for s, d := range map[health.Service]daemon{health.DNS: n.dns, health.Web: n.web} {
		if err := h.attach(s, inProcess(h, s, d)); err != nil {
			return err
		}
	}
	return runAll(ctx,
		h.run,
		part("dnsd", n.dns.Run),
		part("popd", n.web.Run),
		func(ctx context.Context) error { return n.reportLast(ctx) },
	)
}

// inProcess is the link as a function call. Views go at once; a Snapshot that a daemon refuses is an event.
func inProcess(h *hub, s health.Service, d daemon) func(update) {
	return func(u update) {
		if u.Files != nil {
			if err := d.Apply(u.Name, u.Files); err != nil {
				h.o.Logger.Error("configuration refused", "daemon", serviceName(s), "error", err)
				h.o.Events.Add(event.Event{Kind: event.Config, Subject: serviceName(s), State: "refused", Cause: err.Error()})
			}
		}
		if u.View != nil {
			d.SetView(u.View)
		}
	}
}

// reportLast keeps the hub's knowledge of the last client request fresh; a drain waits for silence by it.
func (n *Node) reportLast(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			n.hub.noteLast(health.DNS, n.dns.LastRequest())
			n.hub.noteLast(health.Web, n.web.LastRequest())
		}
	}
}

// Drain moves the clients away and returns when the node may be stopped, or when ctx ends.
func (n *Node) Drain(ctx context.Context) error {
	if err := n.hub.drain(ctx); err != nil {
		return err
	}
	if err := n.web.Drain(ctx); err != nil {
		return err
	}
	return n.dns.Drain(ctx)
}

// part names a daemon in its error.
func part(name string, run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := run(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
}

// runAll runs the parts until one fails or ctx is done, then stops the others and returns the first failure.
func runAll(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, run := range parts {
		all.Go(func() {
			if err := run(ctx); !ends(ctx, err) {
				cancel(err)
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil && err != context.Canceled { //nolint:errorlint // exactly this value means no failure
		return err
	}
	return nil
}
