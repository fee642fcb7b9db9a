package announce

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// The penalties of RFC 2439 as routers have them by default, and how fast they halve.
const (
	PenaltyWithdrawal = 1000
	PenaltyAttributes = 500
	HalfLife          = 15 * time.Minute
)

// Account is what is remembered of a prefix from one decision to the next: what its neighbours were told, and the penalty
// that a neighbour which damps flaps has counted. It is kept below Anycast.FlapBudget. What gives way to what:
//
//	the prefix is announced by somebody   goes before all else
//	a dead service is withdrawn at once   goes before the budget, and may overdraw it
//	a node that stops, and a drain        the same: whoever asks for them is told, and knows better
//	an operator's undrain                 the same: whoever lifts a drain wants the clients now
//	the budget                            holds back soft causes (they stay announced), and the way back of what was
//	                                      withdrawn for one, or died, until it can bear another withdrawal
//
// So the penalty gets over the budget only by what an operator asks for, by a death soon after that, or by one after a
// return to a prefix that nobody else announced.
type Account struct {
	State   State        // what is announced; the zero State is Withdrawn, too
	Good    bool         // all services were good at the same time once
	By      health.Class // of the last withdrawal
	Penalty float64      // at the time At
	At      time.Time
	Lonely  bool      // announced against a soft cause, since too few others were well
	Turn    time.Time // when its turn to leave or to come back is; zero while it waits for none
}

// Announced reports whether the neighbours have a route.
func (a Account) Announced() bool { return a.State == Announced || a.State == GSHUT }

// PenaltyAt is the penalty at time now.
func (a Account) PenaltyAt(now time.Time) float64 {
	return a.Penalty * math.Exp2(-float64(max(now.Sub(a.At), 0))/float64(HalfLife))
}

// below is when a penalty will have fallen below a limit.
func below(penalty, limit float64, now time.Time) time.Time {
	return now.Add(time.Duration(math.Log2(penalty/limit)*float64(HalfLife)) + time.Millisecond)
}

// enter books a decision, or holds it back where the budget cannot bear it.
func (g *group) enter(d decision) decision {
	in, was := g.in, cmp.Or(g.past.State, Withdrawn)
	now := in.Now
	account := Account{State: d.state, Good: g.past.Good || d.good, By: g.past.By, Penalty: g.past.PenaltyAt(now), At: now, Lonely: d.lonely, Turn: d.turn}
	limit := g.limit()
	var cost, room float64 // what it costs, and what must be free for it
	switch {
	case was == d.state:
	case d.state == Withdrawn:
		cost, room = PenaltyWithdrawal, PenaltyWithdrawal
	case was == Withdrawn:
		room = PenaltyWithdrawal // the withdrawal that may have to follow
	default:
		cost, room = PenaltyAttributes, PenaltyAttributes
	}
	over := account.Penalty+room >= limit && room > 0 && in.without&budget == 0
	switch {
	case over && d.class == health.Wish:
		d.reason += "; over the flap budget, so that neighbours which damp flaps may suppress it for up to an hour"
	case over && !d.must && !g.overrules(was, d):
		until := below(account.Penalty, limit-room, now)
		d.state, d.kept, account.State = was, was != Withdrawn, was
		d.reason += fmt.Sprintf("; held back by the flap budget for %v", until.Sub(now).Round(time.Second))
		d.next = earlier(d.next, until)
		cost = 0
	}
	account.Penalty += cost
	if d.state == Withdrawn && was != Withdrawn {
		account.By = d.class
	}
	d.account = account
	return d
}

// limit is the penalty that changes never reach. There is none where nobody damps flaps, unless the topology names one.
func (g *group) limit() float64 {
	budget := cmp.Or(g.in.Topology.Anycast.FlapBudget, topology.DefaultFlapBudget)
	if g.in.Undamped && budget == topology.DefaultFlapBudget {
		return math.Inf(1)
	}
	return float64(budget)
}

// overrules reports whether the way back goes before the budget.
func (g *group) overrules(was State, d decision) bool {
	if was != Withdrawn {
		return false
	}
	lifted := g.past.By == health.Wish
	needed := g.in.without&budgetFloor == 0 && !g.in.Alone && (d.kept || len(g.counted(anyNode)) < g.minPOPs)
	return lifted || needed
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
