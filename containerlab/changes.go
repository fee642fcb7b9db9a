package containerlab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"

	"github.com/catchment-net/catchment/labs/router"
)

// listen takes what our routers report of their best paths, a socket a router, for it must lie in the folder that the
// router's container sees. Routers that are FRR report nothing: they are asked by BGP.
func (l *Lab) listen(ctx context.Context) error {
	for _, c := range l.folder.nodes {
		if c.frr || c.role == pop || c.beside != nil {
			continue
		}
		var lc net.ListenConfig
		path := filepath.Join(l.tools.dir, "run", c.name, changesName)
		s, err := lc.Listen(ctx, "unix", path)
		if err != nil {
			return fmt.Errorf("listen for the router of %s: %w", c.name, err)
		}
		l.parts.Go(func() {
			stop := context.AfterFunc(ctx, func() { s.Close() })
			defer stop()
			for {
				conn, err := s.Accept()
				if err != nil {
					return // closed, with ctx
				}
				l.parts.Go(func() { l.hear(ctx, conn) })
			}
		})
	}
	return nil
}

// hear notes a router's changes until it ends.
func (l *Lab) hear(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	dec := json.NewDecoder(conn)
	for {
		var c router.Change
		if dec.Decode(&c) != nil {
			return
		}
		l.changed(c)
	}
}

func (l *Lab) changed(c router.Change) {
	if e := l.bests.Note(c); e != nil {
		l.ring.Add(*e)
	}
}
