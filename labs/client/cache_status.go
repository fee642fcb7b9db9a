package client

import (
	"net/http"
	"strings"

	"github.com/catchment-net/catchment/labs"
)

// identify fills in who answered: the last member of Cache-Status is the node that the client talked to (RFC 9211 §2).
func (c *Client) identify(h http.Header, s *labs.Sample) {
	s.CacheStatus = strings.Join(h.Values("Cache-Status"), ", ")
	member := lastMember(s.CacheStatus)
	parts := splitOutside(member, ';')
	s.Node = strings.Trim(strings.TrimSpace(parts[0]), `"`)
	for _, p := range parts[1:] {
		if p = strings.TrimSpace(p); p == "hit" || p == "hit=?1" {
			s.Hit = true
		}
	}
	if n := c.o.Topology.Node(s.Node); n != nil {
		s.POP = n.POP.Name
	}
}

func lastMember(list string) string {
	members := splitOutside(list, ',')
	return strings.TrimSpace(members[len(members)-1])
}

// splitOutside splits s at sep, but not within quoted strings (RFC 9651 §3.3.3). The result has at least one part.
func splitOutside(s string, sep byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
