package dnsd

import (
	"errors"
	"runtime"

	"github.com/catchment-net/catchment/dnsd/zone"
)

// A zone that cannot be loaded hurts itself only:
//
//	its text ──► parsed ───────────────────────────────► served
//	        └──► mistakes ─┬─► it was served before ───► its last good copy is served
//	                       └─► it was not ─────────────► its names are SERVFAIL
//
// A zone whose text is the one in force is not parsed again.

// ZoneFault is a zone that is not served as its file says.
type ZoneFault struct {
	Origin, File string
	Err          error // every mistake, a line each
	Kept         bool  // the last good copy is served; else names in it are SERVFAIL
}

// addZones reads the zones, from last what has not changed. The error says that there is nothing to serve: no zone can
// be read, and none was served before.
func (c *config) addZones(sources []ZoneSource, last *zone.Set) ([]*zone.Zone, error) {
	var zones []*zone.Zone
	unread, known := 0, 0
	for _, src := range sources {
		runtime.Gosched() // there may be many thousands, and queries must not wait for a processor until then
		if z := last.Unchanged(src.Origin, src.File, src.Text); z != nil && src.Broken == nil {
			zones = append(zones, z)
			continue
		}
		z, err := (*zone.Zone)(nil), src.Broken
		if err != nil {
			known++
		} else if z, err = zone.Parse(src.Origin, src.File, src.Text); err != nil {
			unread++
		}
		if err != nil {
			if z = last.Last(src.Origin); z == nil {
				z = zone.NewBroken(src.Origin, src.File)
			}
			c.faults = append(c.faults, ZoneFault{Origin: z.Origin(), File: src.File, Err: err, Kept: !z.Broken()})
		}
		zones = append(zones, z)
	}
	if last == nil && unread > 0 && unread+known == len(sources) {
		var errs []error
		for _, f := range c.faults {
			errs = append(errs, f.Err)
		}
		return nil, errors.Join(errs...)
	}
	return zones, nil
}

// ZoneFaults lists the zones that are not served as their files say, in the order of the configuration.
func (s *Server) ZoneFaults() []ZoneFault {
	now := s.state.Load()
	if now == nil {
		return nil
	}
	return now.config.faults
}

// reportZones says which zones are not served as their files say. Those that the configuration itself gave as broken
// have been reported by whoever found it.
func (s *Server) reportZones(c *config, sources []ZoneSource) {
	given := map[string]bool{}
	for _, src := range sources {
		if src.Broken != nil {
			given[zone.Canonical(src.Origin)] = true
		}
	}
	for _, f := range c.faults {
		switch {
		case given[f.Origin]:
		case f.Kept:
			s.o.Logger.Error("zone not loaded; its last good copy stays in force", "zone", f.Origin, "error", f.Err)
		default:
			s.o.Logger.Error("zone not loaded; its names are SERVFAIL", "zone", f.Origin, "error", f.Err)
		}
	}
	s.metrics.faulty.Set(float64(len(c.faults)))
}
