// Package bgpd announces a node's prefixes while its services are well, and takes them back when they are not.
//
// The decision is bgpd/announce, the wire is bgpd/speaker; this package joins them: each change of the health view is
// decided on and on its way to the neighbours before SetView returns.
package bgpd

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/event"
)

// Options configures a Server. Only Node is required.
type Options struct {
	Node string // the node's name in the topology

	// Listen is where neighbours may connect to. Nil means port 179 of the node's unicast addresses if the neighbours
	// are the topology's, else no listener: we dial.
	Listen []netip.AddrPort
	// Neighbors replace the ones of the topology; nil means the topology's.
	Neighbors []speaker.Neighbor
	// BFD watches the path to neighbours, by their address: the interval of its packets, 10 ms to 10 s. It goes with
	// Neighbors; those of the topology say so themselves.
	BFD     map[netip.Addr]time.Duration
	bfdPort uint16 // a test's own; 0 means 3784
	// NextHops are written into our routes, one for each family; nil means the node's unicast addresses.
	NextHops []netip.Addr
	// Kernel has the best paths that the neighbours send put into the kernel's routing table, and ends the session with
	// a neighbour as soon as its link has lost its carrier. Where another routing daemon or fixed routes do that, leave
	// it off.
	Kernel bool
	// VIPs has the service addresses of the anycast prefixes put on lo before a prefix is announced, and taken away when
	// it is withdrawn and no client has asked for a while. An address that is there already stays. It needs CAP_NET_ADMIN.
	VIPs bool
	// Alone says that the topology does not know the other POPs: a probe that fails withdraws without asking whether
	// another POP is left.
	Alone bool

	// Undamped says that the neighbours do not damp flaps, as the routers of a lab: no flap budget but one that the
	// topology names holds changes back.
	Undamped bool

	// Quiet returns when the last client request arrived on an anycast address; nil means that nobody counts.
	Quiet func() time.Time
	// Requests returns how many such requests there were in the last second; nil means that nobody counts.
	Requests func() uint32
	// OnClaims is called with the anycast prefixes that attract clients whenever they change; nil means nobody asks.
	// It is called from within SetView, Drain and others: it must not block, nor call the Server.
	OnClaims func([]netip.Prefix)
	// OnProgress is called as OnClaims is, whenever a drain of this node has come a step further, or is lifted; Progress
	// has what it became. Nil means nobody asks.
	OnProgress func()

	Logger     *slog.Logger          // nil discards
	Events     *event.Ring           // nil keeps none
	Registerer prometheus.Registerer // nil keeps the metrics private
	Now        func() time.Time      // nil means time.Now
	Ready      func(addrs []string)  // called once Run listens, with the real addresses; nil means nobody waits
}

// setDefaults checks and completes the options.
func (o *Options) setDefaults() error {
	var errs []error
	if o.Node == "" {
		errs = append(errs, errors.New("bgpd: want the node's name"))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Quiet == nil {
		o.Quiet = func() time.Time { return time.Time{} }
	}
	if o.Requests == nil {
		o.Requests = func() uint32 { return 0 }
	}
	if o.OnProgress == nil {
		o.OnProgress = func() {}
	}
	if o.OnClaims == nil {
		o.OnClaims = func([]netip.Prefix) {}
	}
	return errors.Join(errs...)
}
