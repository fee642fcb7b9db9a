package upstream

import "strings"

// The header fields between nodes. Only the internal listener believes them in a request, and only a node is believed in
// an answer.
const (
	TierField   = "Catchment-Tier"   // "edge=NODE" or "peer=NODE": who asks, and as what
	SchemeField = "Catchment-Scheme" // of the client's URL
	RulesField  = "Catchment-Rules"  // digest of the rules by which the site's URLs are keyed, in requests and answers
	AgeField    = "Catchment-Age"    // of an answer, in milliseconds by the node's own steady clock
)

// The tiers that answer.
const (
	Peer   = "peer"
	Shield = "shield"
	Origin = "origin"
)

// Asker is the node that a request between nodes comes from.
type Asker struct {
	Node string
	Peer bool // it is of our POP and asks for what we keep; else it asks us as its shield
}

// ParseTier reads a TierField.
func ParseTier(value string) (from Asker, ok bool) {
	as, node, _ := strings.Cut(value, "=")
	return Asker{Node: node, Peer: as == "peer"}, node != "" && (as == "peer" || as == "edge")
}

// tierValue is the TierField of a request that this node sends to a tier.
func tierValue(tier, self string) string {
	if tier == Peer {
		return "peer=" + self
	}
	return "edge=" + self
}
