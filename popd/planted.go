package popd

import (
	"context"

	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/site"
)

// keyRules say what of a URL counts. The planted defect makes every other POP count the parameters that do not.
func keyRules(c *config, st *site.Site) site.Key {
	k := st.Cache.Key
	if fault.Is(fault.KeysDifferently) && c.node != nil && c.node.POP.Index%2 == 1 {
		k.DropQuery = nil
	}
	return k
}

// dropsDrained is a planted defect: clients that have not moved away yet are turned away.
func (s *Server) dropsDrained() bool {
	if !fault.Is(fault.DrainDrops) {
		return false
	}
	v := s.view.Load()
	return v != nil && v.Nodes[s.o.Node].Draining
}

// spoiled is a planted defect: a body of which the first byte is wrong.
func spoiled(b flight.Body) flight.Body {
	if !fault.Is(fault.WrongBody) {
		return b
	}
	return &spoiledBody{Body: b}
}

type spoiledBody struct {
	flight.Body
	begun bool
}

func (b *spoiledBody) Next(ctx context.Context) ([]byte, error) {
	p, err := b.Body.Next(ctx)
	if len(p) > 0 && !b.begun {
		b.begun = true
		p = append([]byte{p[0] ^ 1}, p[1:]...)
	}
	return p, err
}
