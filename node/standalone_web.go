package node

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/obs"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/popd/accesslog"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// StandaloneWeb is a caching reverse proxy from flags alone.
type StandaloneWeb struct {
	Origin string
	Listen []string
	Secure []string // addresses over TLS, with Certificate and Key
	// Certificate and Key are PEM files; changed ones are taken up. Empty: none.
	Certificate, Key string

	Memory int64
	Log    accesslog.Options // without a Path there is none
	State  string
	Admin  string // empty means admin.sock in State
	Logger *slog.Logger
	Ready  func([]string)
}

// Proxy is a standalone cache with its admin socket, for purges, events and metrics.
type Proxy struct {
	*popd.Server
	admin *admin.Server
}

// NewStandaloneWeb wires the proxy; it opens nothing.
func NewStandaloneWeb(o StandaloneWeb) (*Proxy, error) {
	if len(o.Listen) == 0 {
		return nil, errors.New("nothing to listen on: add --listen ADDR:PORT")
	}
	if (o.Certificate == "") != (o.Key == "") || (o.Certificate == "") != (len(o.Secure) == 0) {
		return nil, errors.New("--listen-https, --certificate and --key go together; add what is missing")
	}
	var certificates []site.TLS
	if o.Certificate != "" {
		certificates = []site.TLS{{Certificate: o.Certificate, Key: topology.Secret{File: o.Key}}}
	}
	conf, err := popd.Standalone(o.Origin, certificates...)
	if err != nil {
		return nil, err
	}
	if o.Admin == "" {
		o.Admin = filepath.Join(o.State, "admin.sock")
	}
	ring, registry := event.NewRing(event.Options{Node: "popd"}), prometheus.NewRegistry()
	ready := &gate{open: o.Ready, waiting: 2}
	p := &Proxy{}
	if p.admin, err = admin.New(admin.Options{Socket: strings.TrimPrefix(o.Admin, "unix:"), Logger: o.Logger, Ready: func(string) { ready.listens(nil) }}); err != nil {
		return nil, err
	}
	access, err := openAccessLog(o.Log, o.Logger, registry)
	if err != nil {
		return nil, err
	}
	p.Server, err = popd.New(popd.Options{
		AccessLog: access,
		Node:      "popd", Public: o.Listen, Secure: o.Secure, Insecure: true, Memory: o.Memory, Logger: o.Logger, Events: ring, Registerer: registry, Ready: ready.listens,
	})
	if err != nil {
		return nil, err
	}
	p.admin.Handle("POST "+PurgePath, func(w http.ResponseWriter, r *http.Request) {
		servePurge(w, r, func(_ context.Context, what popd.PurgeRequest) (popd.Purged, error) { return p.Purge(what) })
	})
	p.admin.Handle("GET /v1/events", admin.Events(ring).ServeHTTP)
	p.admin.Handle("GET /metrics", obs.Handler(registry, o.Logger).ServeHTTP)
	return p, p.Apply(conf)
}

// Run serves until ctx is done.
func (p *Proxy) Run(ctx context.Context) error {
	return runAll(ctx, part("popd", p.Server.Run), part("admin", p.admin.Run))
}
