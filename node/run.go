package node

import (
	"context"
	"errors"
	"sync"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd"
)

// Node is all daemons of one node in one process; the link is a function call.
type Node struct {
	hub *hub
	dns *dnsDaemon
	web *webDaemon
}

// New checks the configuration and wires a whole node; it opens nothing.
func New(o Options) (*Node, error) {
	snap, self, err := o.setDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{}
	ready := &gate{open: o.Ready, waiting: 2}
	listening := func(s health.Service, addrs []string) {
		n.hub.heard(s, report{Service: s, Node: self.Name, Ready: true})
		ready.listens(addrs)
	}
	if n.dns, err = newDNS(&o, self, listening); err != nil {
		return nil, err
	}
	if n.web, err = newWeb(&o, self, listening); err != nil {
		return nil, err
	}
	inside := []daemon{n.dns, n.web}
	if err := applyAll(snap, inside); err != nil {
		return nil, err
	}
	if n.hub, err = newHub(&o, snap, self, inside, ready); err != nil {
		return nil, err
	}
	return n, nil
}

// Run runs the node until ctx is done, which means stop now. A daemon that cannot go on ends the node with its error.
func (n *Node) Run(ctx context.Context) error {
	for s, d := range map[health.Service]daemon{health.DNS: n.dns, health.Web: n.web} {
		p := inProcess(d)
		if s == health.Web {
			p.purge = n.purge
		}
		if err := n.hub.attach(s, p); err != nil {
			return err
		}
	}
	return runAll(ctx, n.hub.run, part("dnsd", n.answer), part("popd", n.web.Run))
}

func (n *Node) purge(_ context.Context, what popd.PurgeRequest) (popd.Purged, error) {
	return n.web.Purge(what)
}

// answer runs the name server.
func (n *Node) answer(ctx context.Context) error {
	n.hub.judge.awaitTargets(ctx)
	return n.dns.Run(ctx)
}

// inProcess is the link as a function call. It carries Views alone: adopt gives the daemons of its own process their
// Snapshot itself, since it wants to hear a refusal.
func inProcess(d daemon) port {
	return port{traffic: d.traffic, sink: func(u update) {
		if u.View != nil {
			d.SetView(u.View)
		}
	}}
}

// Drain moves the clients away and returns when the node may be stopped, or when ctx ends.
func (n *Node) Drain(ctx context.Context) error {
	err := n.hub.drain(ctx)
	var both sync.WaitGroup
	var webErr, dnsErr error
	both.Go(func() { webErr = n.web.Drain(ctx) })
	both.Go(func() { dnsErr = n.dns.Drain(ctx) })
	both.Wait()
	return errors.Join(err, webErr, dnsErr, n.hub.pools.leave(ctx))
}
