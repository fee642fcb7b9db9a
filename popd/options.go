package popd

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/popd/accesslog"
	"github.com/catchment-net/catchment/purge"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// The defaults of Options and the fixed limits of a Server.
const (
	DefaultMemory    = 256 << 20        // bytes of answers, stored or on their way
	DefaultMaxObject = 32 << 20         // bytes of one stored answer; never more than an eighth of the memory
	DefaultConnect   = 2 * time.Second  // to open a connection to a shield or an origin
	DefaultFirstByte = 10 * time.Second // from the request's end to the answer's header
	DefaultSilence   = time.Second      // of a shield that gives no sign of life
	DefaultStall     = 30 * time.Second // between two reads of an upstream body, and two writes to a client

	maxHeaderBytes    = 64 << 10         // of a request and of an upstream answer
	readHeaderTimeout = 10 * time.Second // slowloris
	idleTimeout       = 60 * time.Second // of a kept-alive client connection
	windowsShare      = 16               // of the memory: for answers too large to be stored, as they pass
	hitForMiss        = 2 * time.Minute  // how long a URL is remembered as not shareable
	quietBeforeStop   = time.Second      // without a request, before Drain says that we may stop
	signOfLife        = 200 * time.Millisecond
	maxEarly          = 8 // interim answers that wait for their client
)

// Options configures a Server. Only Node is required.
type Options struct {
	Node string // names this cache in Cache-Status, Via and the health answer
	POP  string // empty: taken from the topology, where there is one

	// Net opens all sockets; nil means underlay.Host{}.
	Net underlay.Net
	// Public are the "IP:port" to serve clients on. Nil: port 80 of the node's unicast addresses and of the anycast
	// web addresses of the topology. All but the node's own unicast addresses count as anycast for LastRequest.
	Public []string
	// Secure are the "IP:port" to serve clients on over TLS, with the certificates that the sites name. Nil: port 443 of
	// the addresses of Public, if any site has a certificate.
	Secure []string
	// Internal are the "IP:port" to serve other nodes on. Nil: port 7950 of the node's unicast addresses.
	Internal []string

	// ServerTLS is what the internal listener shows and which clients it takes (Certificates and ClientCAs);
	// ClientTLS is the same for our requests to shields (Certificates and RootCAs; the name verified is the
	// shield's node name). TLS 1.3 and a client certificate are always demanded.
	ServerTLS, ClientTLS *tls.Config
	// OriginTLS is for origins with https URLs; nil verifies them against the host's roots.
	OriginTLS *tls.Config
	// Insecure speaks plain HTTP between nodes when ServerTLS and ClientTLS are nil: loopback only.
	Insecure bool

	Memory    int64         // bytes of answers, stored or on their way, with all that is needed to find them: a hard limit; 0 means DefaultMemory
	MaxObject int64         // bytes; larger answers stream through unstored; 0 means DefaultMaxObject, at most Memory/8
	Connect   time.Duration // 0 means DefaultConnect
	FirstByte time.Duration // 0 means DefaultFirstByte
	Silence   time.Duration // 0 means DefaultSilence
	Stall     time.Duration // 0 means DefaultStall

	// Purges says what has been purged: it is asked at each lookup. Nil: one of its own.
	Purges *purge.Index

	AccessLog *accesslog.Log // of clients' requests; the Server runs it. Nil: none

	Logger     *slog.Logger          // nil discards
	Events     *event.Ring           // nil: nobody listens
	Registerer prometheus.Registerer // nil: metrics are kept but not exported
	Ready      func(addrs []string)  // called once all listen: the public addresses, then those over TLS, then the internal ones
	Now        func() time.Time      // nil means time.Now
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Node == "":
		return o, fmt.Errorf("popd: node name is empty; it names this cache in every answer")
	case o.Memory < 0, o.MaxObject < 0:
		return o, fmt.Errorf("popd: memory %d and largest object %d bytes: want 0 or more", o.Memory, o.MaxObject)
	case o.ServerTLS != nil && (o.ServerTLS.ClientCAs == nil || len(o.ServerTLS.Certificates) == 0 && o.ServerTLS.GetCertificate == nil):
		return o, fmt.Errorf("popd: internal TLS of node %q: want a certificate and the CAs of its clients", o.Node)
	}
	if o.Net == nil {
		o.Net = underlay.Host{}
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.MaxObject == 0 {
		o.MaxObject = DefaultMaxObject
	}
	o.MaxObject = min(o.MaxObject, o.Memory/8)
	o.Connect = orDefault(o.Connect, DefaultConnect)
	o.FirstByte = orDefault(o.FirstByte, DefaultFirstByte)
	o.Silence = orDefault(o.Silence, DefaultSilence)
	o.Stall = orDefault(o.Stall, DefaultStall)
	if o.Purges == nil {
		o.Purges = purge.NewIndex(0)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Config is what a Server serves. It is immutable once given to Apply.
type Config struct {
	Topology *topology.Topology // nil: a cache on its own, without shields
	Node     string             // our name in Topology; empty means Options.Node
	Sites    []*site.Site
	// Any, if set, answers for every host that no site claims. Its origin is asked under the origin's own host name,
	// while a site's origin is asked under the name that the client used.
	Any *site.Site
}

// Standalone is the Config of a cache on its own: every host is served from one origin, an http or https URL without
// a path, over TLS with the certificates, if there are any. The error says what is wrong with the URL.
func Standalone(origin string, certificates ...site.TLS) (Config, error) {
	u, err := url.Parse(origin)
	if err != nil {
		return Config{}, fmt.Errorf("origin %q: want http://HOST[:PORT] or https://HOST[:PORT]", origin)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return Config{}, fmt.Errorf("origin %q: want http://HOST[:PORT] or https://HOST[:PORT]", origin)
	}
	return Config{Any: &site.Site{Name: "any", Origins: []site.Origin{{URL: u, Weight: 1}}, TLS: certificates}}, nil
}
