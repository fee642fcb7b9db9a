package node

import (
	"errors"
	"log/slog"

	"github.com/catchment-net/catchment/popd"
)

// StandaloneWeb is a caching reverse proxy from flags alone.
type StandaloneWeb struct {
	Origin string
	Listen []string
	Memory int64
	Logger *slog.Logger
	Ready  func([]string)
}

// NewStandaloneWeb wires the proxy; it opens nothing.
func NewStandaloneWeb(o StandaloneWeb) (*popd.Server, error) {
	if len(o.Listen) == 0 {
		return nil, errors.New("nothing to listen on: add --listen ADDR:PORT")
	}
	conf, err := popd.Standalone(o.Origin)
	if err != nil {
		return nil, err
	}
	srv, err := popd.New(popd.Options{Node: "popd", Public: o.Listen, Insecure: true, Memory: o.Memory, Logger: o.Logger, Ready: o.Ready})
	if err != nil {
		return nil, err
	}
	return srv, srv.Apply(conf)
}
