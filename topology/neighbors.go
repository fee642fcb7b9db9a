package topology

import (
	"fmt"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
)

// readSession reads what a session with a neighbour asks for.
func readSession(n *Neighbor, f conf.Fields) {
	if v := f.Get("local"); v.Exists() {
		n.Local = v.Addr()
		if n.Local.IsValid() && n.Address.IsValid() && n.Local.Is4() != n.Address.Is4() {
			v.Fail(fmt.Sprintf("local address %s is not of the family of %s", n.Local, n.Address), fmt.Sprintf("write our %s address on the way to it", family(n.Address)))
		}
	}
	if v := f.Get("keepalive"); v.Exists() {
		n.Keepalive = positive(v, time.Second, 65535*time.Second)
		hold := n.HoldTime
		if hold == 0 {
			hold = defaultHold
		}
		if n.Keepalive > hold/3 {
			v.Fail(fmt.Sprintf("keepalive %s is more than a third of the hold time %s", conf.Span(n.Keepalive), conf.Span(hold)),
				fmt.Sprintf("write at most %s: two keepalives may be lost (RFC 4271 §4.4)", conf.Span((hold/3).Truncate(time.Second))))
		}
	}
	for _, key := range []string{"hold", "keepalive"} {
		if v := f.Get(key); v.Exists() && v.IsScalar() && v.Duration()%time.Second != 0 {
			v.Fail(fmt.Sprintf("%s %s is not in whole seconds", key, conf.Span(v.Duration())), "BGP counts seconds: write 9s")
		}
	}
	n.TTLSecurity = f.Get("ttl_security").Exists() && f.Get("ttl_security").Bool()
	if v := f.Get("multihop"); v.Exists() {
		n.Multihop = v.Int(2, 255)
		if n.TTLSecurity {
			v.Fail(fmt.Sprintf("neighbor %q has ttl_security and multihop", n.Name), "keep one: ttl_security is for a neighbour on our link (RFC 5082)")
		}
	}
	if v := f.Get("max_prefixes"); v.Exists() {
		n.MaxPrefixes = v.Int(1, 10_000_000)
	}
	if v := f.Get("graceful_restart"); v.Exists() && v.Bool() {
		v.Fail(fmt.Sprintf("neighbor %q would keep our routes when we are gone", n.Name),
			"leave graceful_restart out: with it a dead POP stays routed for the whole restart time, which withdrawing on failure is there to prevent")
	}
}

// defaultHold is the hold time where the file gives none.
const defaultHold = 9 * time.Second

// maxMED is the highest metric of a route (RFC 4271 §4.3).
const maxMED = 1<<32 - 1

// readExport reads what is done to our routes towards a neighbour.
func readExport(n *Neighbor, f conf.Fields) {
	if v := f.Get("prepend"); v.Exists() {
		n.Prepend = v.Int(0, maxPrepend)
	}
	if v := f.Get("med"); v.Exists() {
		n.MED = uint32(v.Int(0, maxMED))
	}
	if v := f.Get("no_export"); v.Exists() && v.Bool() {
		n.Communities = append(n.Communities, NoExport)
	}
	for _, v := range f.Get("communities").Items() {
		readCommunity(v, &n.Communities, &n.LargeCommunities)
	}
}
