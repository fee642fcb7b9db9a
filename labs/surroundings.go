package labs

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"time"
)

// Surroundings is what a runner tells a node's process about the lab that it lives in: its neighbours and, in a local
// lab, how to reach a network that does not exist on the host. A node outside a lab has none.
type Surroundings struct {
	Socket    string           `json:"socket,omitempty"` // the local runner's underlay socket; "" where the node has a network of its own
	Bind      netip.Addr       `json:"bind"`             // with Socket: the node's own address on the host, in 127.64.0.0/10
	BGPListen []netip.AddrPort `json:"bgp_listen"`       // where its speaker waits for its neighbours
	Neighbors []NeighborOnHost `json:"neighbors"`
	Kernel    bool             `json:"kernel,omitempty"` // its routes go into the kernel of a machine of its own
	Clock     string           `json:"clock,omitempty"`  // file by which a drill sets the wall clock (internal/wallclock); "" for the host's
}

// NeighborOnHost is a router of the lab as a node's speaker sees it. It is the router that connects.
type NeighborOnHost struct {
	Name     string     `json:"name"`
	Address  netip.Addr `json:"address"` // on the host, or on the link
	ASN      uint32     `json:"asn"`
	Local    netip.Addr `json:"local"`              // our end
	Local6   netip.Addr `json:"local6"`             // our IPv6 end; the zero Addr in a local lab
	Relation string     `json:"relation,omitempty"` // customer, peer or provider; "" takes a default route at most
	Prepend  int        `json:"prepend,omitempty"`

	BFD time.Duration `json:"bfd,omitempty"` // between two BFD packets; 0 means no BFD
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
