package labs

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
)

// Surroundings is what the local runner tells a node's process about the lab that it lives in, since neither its
// addresses nor its neighbours' exist on the host. A node outside a lab has none.
type Surroundings struct {
	Socket    string           `json:"socket"`     // the runner's underlay socket
	Bind      netip.Addr       `json:"bind"`       // the node's own address on the host, in 127.64.0.0/10
	BGPListen netip.AddrPort   `json:"bgp_listen"` // where its speaker waits for the links' relays
	Neighbors []NeighborOnHost `json:"neighbors"`
}

// NeighborOnHost is a router of the lab as a node's speaker sees it.
type NeighborOnHost struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"` // on the host
	ASN     uint32     `json:"asn"`
	Prepend int        `json:"prepend,omitempty"`
}

// Write stores s in file, readable by this user alone.
func (s *Surroundings) Write(file string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode surroundings: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write surroundings: %w", err)
	}
	return nil
}

// ReadSurroundings loads what Write stored.
func ReadSurroundings(file string) (*Surroundings, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read surroundings: %w", err)
	}
	var s Surroundings
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("read surroundings %q: %w", file, err)
	}
	return &s, nil
}
