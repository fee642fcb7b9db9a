package bgpd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/bgpd/bfd"
	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// paths watches the paths to the neighbours by BFD, and ends the session over one that has died:
//
//	BFD up -> down            Hold: the session is ended and none begun; its routes are gone with it
//	BFD up again              Release
//	neighbour: admin down     Release: it has ended BFD on purpose, and BGP's hold time is all there is (RFC 5882 §4.1)
//	its host: nobody there    Release: its BFD is gone without a word, but the path carries packets
//	BFD never up              nothing: a neighbour without BFD speaks BGP as ever
type paths struct {
	s        *Server
	endpoint *bfd.Endpoint
	downs    map[netip.Addr]int // as last heard; belongs to the endpoint's goroutine
}

func newPaths(s *Server) (*paths, error) {
	p := &paths{s: s, downs: map[netip.Addr]int{}}
	var err error
	p.endpoint, err = bfd.New(bfd.Options{Port: s.o.bfdPort, OnChange: p.changed, Logger: s.o.Logger, Registerer: s.o.Registerer})
	return p, err
}

// pathsOf are the neighbours whose paths are to be watched.
func pathsOf(neighbors []speaker.Neighbor, o *Options, n *topology.Node) ([]bfd.Peer, error) {
	every := o.BFD
	if o.Neighbors == nil {
		every = map[netip.Addr]time.Duration{}
		for _, r := range n.POP.Neighbors {
			every[r.Address] = r.BFD
		}
	}
	var all []bfd.Peer
	var errs []error
	for _, r := range neighbors {
		interval := every[r.Address]
		if interval == 0 {
			continue
		}
		if r.Multihop != 0 {
			errs = append(errs, fmt.Errorf("neighbor %q: BFD with multihop %d: want a neighbor on a link of ours (RFC 5881)", r.Name, r.Multihop))
		}
		all = append(all, bfd.Peer{Name: r.Name, Remote: r.Address, Local: r.Local, Timing: bfd.Timing{Interval: interval}})
	}
	return all, errors.Join(errs...)
}

// set watches the paths of a configuration. A session that was held for a path that nobody watches any more is let go.
// Called with the server's mu held.
func (p *paths) set(sp *speaker.Speaker, c *config) error {
	if err := p.endpoint.Set(c.paths); err != nil {
		return err
	}
	for _, n := range c.neighbors {
		if !slices.ContainsFunc(c.paths, func(w bfd.Peer) bool { return w.Remote == n.Address }) {
			sp.Release(n.Address)
		}
	}
	return nil
}

// watch runs speak and beside it BFD, until either ends.
func (p *paths) watch(ctx context.Context, speak func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- p.endpoint.Run(ctx)
	}()
	err := speak(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// changed is called by the endpoint, from one goroutine.
func (p *paths) changed(now bfd.Status) {
	s := p.s
	s.mu.Lock()
	sp := s.speaker
	s.mu.Unlock()
	if sp == nil {
		return
	}
	failed := now.Failed && now.State != bfd.Up
	if failed {
		if err := sp.Hold(now.Remote, "BFD: "+now.Diag.String()); err != nil {
			s.o.Logger.Warn("session over a dead path not ended", "node", s.o.Node, "peer", now.Name, "error", err)
		}
	} else {
		sp.Release(now.Remote)
	}
	fell := now.Downs != p.downs[now.Remote]
	p.downs[now.Remote] = now.Downs
	if !fell && now.State != bfd.Up {
		return // Down and Init take turns where nobody answers, and are no news
	}
	cause := cmp.Or(now.Error, now.Diag.String())
	s.o.Events.Add(event.Event{
		Kind: event.Path, Subject: now.Name, State: now.State.String(), Cause: cause,
		Detail: map[string]string{"address": now.Remote.String(), "failed": fmt.Sprint(failed)},
	})
	s.o.Logger.Info("path changed", "node", s.o.Node, "peer", now.Name, "state", now.State, "cause", cause)
}

// BFDStatus is the path to a neighbour, for people.
type BFDStatus struct {
	State       string    `json:"state"` // admin-down, down, init, up
	Since       time.Time `json:"since"`
	RemoteState string    `json:"remote_state"`         // as the neighbour last told
	Diagnostic  string    `json:"diagnostic,omitempty"` // why it went down last; "" while it is up
	Interval    string    `json:"interval"`             // between two of our packets, as negotiated
	Detection   string    `json:"detection"`            // how long the neighbour may be silent
	Downs       int       `json:"downs,omitempty"`      // how often it was up and is no more
	Held        bool      `json:"held,omitempty"`       // the BGP session is not let up before the path is
	Error       string    `json:"error,omitempty"`      // why packets cannot be sent or heard
}

// status lists the paths by the neighbour's address.
func (p *paths) status() map[netip.Addr]*BFDStatus {
	all := map[netip.Addr]*BFDStatus{}
	for _, v := range p.endpoint.Sessions() {
		all[v.Remote] = &BFDStatus{
			State: v.State.String(), Since: v.Since, RemoteState: v.RemoteState.String(), Diagnostic: v.Diag.String(),
			Interval: v.Interval.String(), Detection: v.Detection.String(), Downs: v.Downs, Held: v.Failed, Error: v.Error,
		}
	}
	return all
}
