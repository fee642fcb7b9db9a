package dnsd

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/dnsd/cookie"
	"github.com/catchment-net/catchment/dnsd/rrl"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// The limits of a Server.
const (
	PayloadSize    = 1232             // bytes of the largest UDP answer (DNS flag day 2020); without EDNS 512
	MaxConns       = 1024             // TCP connections at once; a further one takes the place of the longest idle one
	MaxPipelined   = 4096             // queries on one TCP connection before we close it
	IdleTimeout    = 10 * time.Second // of a TCP connection between two queries (RFC 7766 §6.2.3)
	WriteTimeout   = 5 * time.Second  // of a TCP answer that the client does not read
	quietForDrain  = time.Second      // without a client request, before Drain says that we may stop
	drainLimit     = 10 * time.Second // after which Drain says so anyway
	maxUDPReceived = 4096             // bytes of a UDP query; a longer one is cut, and with that malformed
)

// Options configures a Server. Its zero value is a plain name server without sockets: give it Listen or a topology.
type Options struct {
	// Node and POP are our identity: NSID and id.server answer "POP/NODE". Both empty: neither is answered.
	Node string
	POP  string

	// Net opens the sockets; nil means underlay.Host{}.
	Net underlay.Net
	// Listen are the "IP:port" to serve, each over UDP and TCP. Nil: port 53 of the node's unicast addresses and of
	// the anycast DNS addresses of the topology. All but the node's own unicast addresses count as anycast for
	// LastRequest.
	Listen []string

	// Readers is how many threads read each address over UDP, with a socket each. Zero means one for each processor.
	// Networks that cannot share an address among sockets (those of labs) have one in any case.
	Readers int

	// Cookies are the secrets of server cookies (RFC 9018); all nodes behind one address must have the same. Nil: one is
	// made up, which is right for a single server.
	Cookies *cookie.Secrets
	// RateLimit bounds how often one network gets one answer over UDP; clients with a good cookie are exempt.
	RateLimit rrl.Options
	QueryLog  QueryLog

	Logger     *slog.Logger          // nil discards
	Events     *event.Ring           // nil: nobody listens
	Registerer prometheus.Registerer // nil: metrics are kept but not exported
	Ready      func(addrs []string)  // called once all sockets are open: each address once, in the order of Listen
	Now        func() time.Time      // nil means time.Now
}

func (o Options) withDefaults() (Options, error) {
	for _, a := range o.Listen {
		if _, err := netip.ParseAddrPort(a); err != nil {
			return o, fmt.Errorf("dnsd: listen address %q: want IP:port: %w", a, err)
		}
	}
	if o.Net == nil {
		o.Net = underlay.Host{}
	}
	if o.Readers <= 0 {
		o.Readers = runtime.NumCPU()
	}
	if o.Cookies == nil {
		secret := make([]byte, cookie.SecretSize)
		if _, err := rand.Read(secret); err != nil {
			return o, fmt.Errorf("dnsd: make a cookie secret: %w", err)
		}
		var err error
		if o.Cookies, err = cookie.New(secret); err != nil {
			return o, err
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("pop", o.POP)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}

// Config is what a Server answers from. It must not be changed after Apply.
type Config struct {
	Topology *topology.Topology // nil: no POPs; then no host may be steered among them
	Node     string             // our name in Topology
	Sites    []*site.Site       // whose hosts are steered
	Zones    []ZoneSource
	Geo      *geodata.Sources // nil: everybody gets the POPs in file order; the same pointer as before keeps its tables
}

// ZoneSource is one zone in master-file form (RFC 1035 §5). Text is not to be changed afterwards.
type ZoneSource struct {
	Origin string // with or without the final dot
	File   string // for messages
	Text   []byte
	Broken error // why there is nothing to serve; its names are SERVFAIL, or answered from what was in force. Text counts for nothing
}
