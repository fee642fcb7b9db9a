package announce

import (
	"net/netip"
	"time"

	"github.com/catchment-net/catchment/internal/fault"
)

// The times of the planted defects.
const (
	lateBy     = 2 * time.Second // from a cause to the withdrawal that comes too late
	againAfter = time.Second     // from a cause to the announcement that nothing justifies
	flapEvery  = 2 * time.Second
)

// spoil plants the defects of this package that drills must catch; it changes nothing in an ordinary build. A drain has
// no moment of its cause: only what fails is withdrawn too late or announced again.
func spoil(d decision, in *Input, p netip.Prefix) decision {
	failed := d.state == Withdrawn && !d.since.IsZero()
	switch {
	case d.early:
	case fault.Is(fault.NeverWithdraws) && d.state != Announced,
		fault.Is(fault.WithdrawsIPv4Only) && d.state == Withdrawn && p.Addr().Is6():
		d.state, d.drain, d.next = Announced, Drain{}, time.Time{}
	case fault.Is(fault.WithdrawsTooLate) && failed:
		if turn := d.since.Add(lateBy); in.Now.Before(turn) {
			d.state, d.next = Announced, turn
		}
	case fault.Is(fault.AnnouncesWhileDown) && failed:
		if turn := d.since.Add(againAfter); in.Now.Before(turn) {
			d.next = turn
		} else {
			d.state = Announced
		}
	case fault.Is(fault.Flaps) && d.state == Announced && in.Node.POP.Index == 0:
		turn := in.Now.Truncate(flapEvery).Add(flapEvery)
		d.next = turn
		if turn.Unix()/int64(flapEvery/time.Second)%2 == 0 {
			d.state = Withdrawn
		}
	case fault.Is(fault.DrainDrops) && d.state == GSHUT:
		d.state, d.kept = Withdrawn, false
	}
	return d
}
