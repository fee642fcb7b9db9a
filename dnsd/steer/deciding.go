package steer

import "github.com/catchment-net/catchment/geodata"

// Deciding is the table that decides alone under a Health: all clients of one of its lists get one set, and its scope
// is theirs. So who keeps answers by list need not Pick for each client. It is nil where more counts: a weight, a part of
// the load, several candidates at one place, a way of steering that asks no table.
func (p *Policy) Deciding(h *Health) *geodata.Table {
	if p.way != geo || p.table == nil || h != nil && h.empty {
		return nil
	}
	for _, m := range p.members {
		if len(m) != 1 {
			return nil
		}
	}
	if st := h.of(p); st != nil && st.partial.len() > 0 {
		return nil
	}
	return p.table
}
