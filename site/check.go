package site

import (
	"net/netip"
	"strings"
)

// MaxChecks is how many addresses all sites of a configuration may have probed; the whole fleet knows of each.
const MaxChecks = 1024

// Check is one question that tells whether an address of a target lives, or the name that it stands for.
type Check struct {
	ID   string // unique among all sites: "api.shop.example/frankfurt/198.18.0.10", without an address for a CNAME
	URL  string // what is asked, with the address in its place
	Host string // whose content is asked for: the host that is steered
}

// Checks are what is to be asked of the host's targets; none where no target has a probe.
func (h *Host) Checks() []Check {
	var list []Check
	for _, t := range h.Targets {
		if t.Probe == "" || t.Weight == 0 {
			continue
		}
		if len(t.Addresses) == 0 {
			list = append(list, Check{h.CheckID(t, netip.Addr{}), t.Probe, h.Name})
		}
		for _, a := range t.Addresses {
			text := a.String()
			if a.Is6() {
				text = "[" + text + "]"
			}
			list = append(list, Check{h.CheckID(t, a), strings.ReplaceAll(t.Probe, addressMark, text), h.Name})
		}
	}
	return list
}

// CheckID names the check of one address of a target; of a CNAME's, which has none, if a is the zero Addr.
func (h *Host) CheckID(t *Target, a netip.Addr) string {
	id := h.Name + "/" + t.Name
	if a.IsValid() {
		id += "/" + a.String()
	}
	return id
}
