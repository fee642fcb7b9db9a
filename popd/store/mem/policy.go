package mem

import (
	"time"

	"github.com/catchment-net/catchment/popd/fresh"
)

// setPolicy writes p into a record whose flags say whether there is room for grace.
func (r *record) setPolicy(p fresh.Policy) {
	r.policy = policy{born: int64(p.Born), lifetime: int64(p.Lifetime)}
	r.policyFlags = uint8(p.Flags)
	if r.flags&hasGrace != 0 {
		*r.grace() = grace{int64(p.WhileRevalidate), int64(p.IfError)}
	}
}

func (r *record) freshPolicy() fresh.Policy {
	p := fresh.Policy{
		Born: fresh.Instant(r.policy.born), Lifetime: time.Duration(r.policy.lifetime), Flags: fresh.Flags(r.policyFlags),
	}
	if r.flags&hasGrace != 0 {
		g := r.grace()
		p.WhileRevalidate, p.IfError = time.Duration(g.whileRevalidate), time.Duration(g.ifError)
	}
	return p
}
