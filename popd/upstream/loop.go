package upstream

import (
	"net/http"
	"strings"
)

// LoopField is where CDNs sign requests that they pass on (RFC 8586).
const LoopField = "Cdn-Loop"

// Looped reports whether a request has been through the CDN id before; if node is not empty, whether through that node
// of it.
func Looped(h http.Header, id, node string) bool {
	for _, line := range h[LoopField] {
		for member := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(member, ";")
			if !strings.EqualFold(strings.TrimSpace(name), id) {
				continue
			}
			if node == "" {
				return true
			}
			for p := range strings.SplitSeq(params, ";") {
				if strings.TrimSpace(p) == "node="+node {
					return true
				}
			}
		}
	}
	return false
}

// Sign appends our member to CDN-Loop. The request's own values are left as they are.
func Sign(h http.Header, id, node string) {
	members := append(append([]string(nil), h[LoopField]...), id+"; node="+node)
	h[LoopField] = []string{strings.Join(members, ", ")}
}
