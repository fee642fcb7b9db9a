// Package node wires one POP node: the hub (gossip, health, control, admin), the BGP speaker, the name server and the
// cache, in one process or in three that the link joins.
//
//	                 ┌─────────────── hub ───────────────┐
//	topology, sites ─┤ control   judge ── View ──► bgpd  ├── BGP
//	        gossip ──┤ pools       ▲        │            │
//	                 └─────────────┼────────┼────────────┘
//	                     reports   │  link  │  Snapshots, Views
//	                            dnsd      popd
//
// It is the only package that imports all three daemons; they never import one another.
package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/keys"
	"github.com/catchment-net/catchment/popd/accesslog"
	"github.com/catchment-net/catchment/topology"
)

// Options configures a node. Dir and Name are required.
type Options struct {
	Name  string // the node's name in the topology
	Dir   string // the configuration's folder
	State string // the state folder, locked by the caller; the link's socket and the last good Snapshot live here
	Admin string // the admin socket's path; empty means State/admin.sock
	Hub   string // the hub's link, for dnsd and popd in processes of their own

	Incarnation uint64   // larger at each start of this node; from the state folder
	MMDB        []string // geodata for hosts steered by `geo`, a later file winning; none means Dir/geo.mmdb and Dir/geo-asn.mmdb where they exist

	Keys     *keys.Material // the fleet's certificates and gossip key
	Insecure bool           // without Keys: plain text between nodes, for tests on loopback

	Memory    int64             // popd's cache in bytes; 0 means popd's own default
	AccessLog accesslog.Options // popd's log of clients' requests; without a Path there is none

	Net       underlay.Net                 // nil means the host's network, from the node's unicast addresses
	BGPListen []netip.AddrPort             // nil means port 179 of the unicast addresses
	Neighbors []speaker.Neighbor           // a lab's; nil means the topology's
	BFD       map[netip.Addr]time.Duration // of Neighbors (bgpd.Options.BFD)
	VIPs      bool                         // the speaker puts the anycast addresses on lo (bgpd.Options.VIPs); services listen before
	Kernel    bool                         // put the neighbours' routes into the kernel (bgpd.Options.Kernel)
	Undamped  bool                         // no neighbour damps flaps (bgpd.Options.Undamped)
	Ready     func(addrs []string)         // called once everything listens
	Restart   func() error                 // has the process drain and begin anew, and returns at once; nil where it cannot
	Logger    *slog.Logger                 // nil discards
	Events    *event.Ring                  // nil keeps one of its own
	Registry  *prometheus.Registry         // nil keeps one of its own
	Now       func() time.Time             // nil means time.Now
}

func (o *Options) now() time.Time { return o.Now() }

func (o *Options) linkSocket() string { return filepath.Join(o.State, "hub.sock") }

// ErrUnknownNode is returned where the topology has no node of the wanted name.
var ErrUnknownNode = errors.New("unknown node")

// setDefaults fills in what is not said and finds the node in its configuration.
func (o *Options) setDefaults() (*control.Snapshot, *topology.Node, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Events == nil {
		o.Events = event.NewRing(event.Options{Node: o.Name, Now: o.Now})
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Admin == "" {
		o.Admin = filepath.Join(o.State, "admin.sock")
	}
	snap, err := o.load()
	if err != nil {
		return nil, nil, err
	}
	self, err := findNode(snap.Topology, o.Name)
	if err != nil {
		return nil, nil, err
	}
	if o.Net == nil {
		o.Net = underlay.Host{Local: self.Addrs, Freebind: o.VIPs}
	}
	if o.Keys == nil && !o.Insecure {
		return nil, nil, fmt.Errorf("node %q has no keys: make them with `catchment keys init DIR` and name the folder with --keys, or allow plain text with --insecure", o.Name)
	}
	return snap, self, nil
}

// load reads the folder. A node that cannot read it at all starts from the last good copy in its state folder, if there
// is one; a folder that can be read and has mistakes is an error, since somebody is at work there. A zone with mistakes
// hurts itself only.
func (o *Options) load() (*control.Snapshot, error) {
	last, savedErr := (*control.Snapshot)(nil), os.ErrNotExist
	if o.State != "" {
		last, savedErr = control.LoadSaved(o.State)
	}
	snap, err := control.LoadServing(o.Dir, last)
	var mistakes *conf.Problems
	switch {
	case err == nil:
		return o.allowed(snap, last), nil
	case errors.As(err, &mistakes) || errors.Is(savedErr, os.ErrNotExist):
		return nil, err
	case savedErr != nil:
		return nil, errors.Join(err, savedErr)
	}
	snap = last
	o.Logger.Warn("folder not readable; starting from the last good configuration", "error", err, "digest", snap.Digest)
	o.Events.Add(event.Event{Kind: event.Config, Subject: "snapshot", State: "saved copy", Cause: err.Error(), Detail: map[string]string{"digest": snap.Digest}})
	return snap, nil
}

func findNode(t *topology.Topology, name string) (*topology.Node, error) {
	if n := t.Node(name); n != nil {
		return n, nil
	}
	var known []string
	for _, n := range t.Nodes() {
		known = append(known, n.Name)
	}
	return nil, fmt.Errorf("%w %q: the topology has %v; name one with --node (the default is the host's name)", ErrUnknownNode, name, known)
}
