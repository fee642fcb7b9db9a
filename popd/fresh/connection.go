package fresh

import (
	"net/http"
	"strings"
)

// connectionNames lists the fields that Connection names: they end at the next hop (RFC 9110 §7.6.1). Fields that
// decide about caching cannot be named away.
func connectionNames(h http.Header) []string {
	var names []string
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			switch name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name {
			case "", "Cache-Control", "Vary", "Expires", "Date", "Age":
			default:
				names = append(names, name)
			}
		}
	}
	return names
}

// StripConnection removes from h what is meant for this hop alone.
func StripConnection(h http.Header) {
	for _, name := range append(connectionNames(h), notStored...) {
		delete(h, name)
	}
}
