package bgpd

import (
	"context"
	"errors"
	"fmt"

	"github.com/catchment-net/catchment/bgpd/fib"
	"github.com/catchment-net/catchment/bgpd/speaker"
)

// speak runs the speaker and, where it is asked for, what keeps the kernel's routes equal to its best paths.
func (s *Server) speak(ctx context.Context, sp *speaker.Speaker) error {
	if !s.o.Kernel {
		return sp.Run(ctx)
	}
	s.mu.Lock()
	source := s.conf.node.Addrs
	s.mu.Unlock()
	away := map[string]bool{} // links without a carrier; fib tells of links from one goroutine
	sync, err := fib.New(fib.Options{Paths: sp.RIB, Source: source, OnLink: func(l fib.Link) { s.linkChanged(sp, l, away) }, Logger: s.o.Logger})
	if err != nil {
		return err
	}
	s.kernel.Store(sync)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- sync.Run(ctx)
	}()
	err = sp.Run(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// routeChanged has a new best path put into the kernel.
func (s *Server) routeChanged(b speaker.Best) {
	if sync := s.kernel.Load(); sync != nil {
		sync.Changed(b.Prefix)
	}
}

// linkChanged ends the sessions over a link that has lost its carrier: its neighbours cannot say that they are gone, and
// would be refused as strangers when they come back before the hold time is over. When the carrier is back, the attempts
// to reach them begin anew; other news of a link that is up would only put them off.
func (s *Server) linkChanged(sp *speaker.Speaker, l fib.Link, away map[string]bool) {
	if l.Up && !away[l.Name] {
		return
	}
	away[l.Name] = !l.Up
	for _, n := range sp.Neighbors() {
		for _, subnet := range l.Subnets {
			switch {
			case !subnet.Contains(n.Address):
			case l.Up:
				sp.Reconnect(n.Address)
			default:
				if err := sp.Reset(n.Address, fmt.Sprintf("link %s is down", l.Name)); err != nil {
					s.o.Logger.Warn("session over a dead link not ended", "peer", n.Neighbor, "error", err)
				}
			}
		}
	}
}
