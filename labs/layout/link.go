package layout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/topology"
)

// FindLink returns the link that a person means: by its name, or by its two ends in either order and with any separator.
// The error suggests names.
func FindLink(t *topology.Topology, name string) (*topology.Link, error) {
	for _, l := range t.Internet.Links {
		if l.Name() == name {
			return l, nil
		}
	}
	want := ends(name)
	for _, l := range t.Internet.Links {
		if len(want) == 2 && (l.A == want[0] && l.B == want[1] || l.A == want[1] && l.B == want[0]) {
			return l, nil
		}
	}
	var near, all []string
	for _, l := range t.Internet.Links {
		text := fmt.Sprintf("%q", l.Name())
		all = append(all, text)
		if slices.Contains(want, l.A) || slices.Contains(want, l.B) {
			near = append(near, text)
		}
	}
	if len(near) == 0 {
		near = all
	}
	if len(near) == 0 {
		return nil, fmt.Errorf("no link %q; the lab has none", name)
	}
	slices.Sort(near)
	return nil, fmt.Errorf("no link %q; want one of %s", name, strings.Join(near, ", "))
}

func ends(name string) []string {
	return strings.Fields(strings.NewReplacer("->", " ", "--", " ").Replace(name))
}
