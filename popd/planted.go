package popd

import (
	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/site"
)

// dropQuery are the globs of the parameters that do not count. The planted defect makes every other POP count them.
func dropQuery(c *config, st *site.Site) []string {
	if fault.Is(fault.KeysDifferently) && c.node != nil && c.node.POP.Index%2 == 1 {
		return nil
	}
	return st.Cache.Key.DropQuery
}

// dropsDrained is a planted defect: clients that have not moved away yet are turned away.
func (s *Server) dropsDrained() bool {
	if !fault.Is(fault.DrainDrops) {
		return false
	}
	v := s.view.Load()
	return v != nil && v.Nodes[s.o.Node].Draining
}
