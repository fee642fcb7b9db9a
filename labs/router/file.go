package router

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/catchment-net/catchment/labs/layout"
)

// File is what a runner tells a router that is a process of its own on a machine of its own.
type File struct {
	Name      string           `json:"name"`
	ASN       uint32           `json:"asn"`
	RouterID  netip.Addr       `json:"router_id"`
	Prefixes  []netip.Prefix   `json:"prefixes"`
	Source    []netip.Addr     `json:"source,omitempty"` // what the machine's own packets come from; at most one of each family
	Neighbors []NeighborOnLink `json:"neighbors"`
	Static    []layout.Host    `json:"static"`
	Changes   string           `json:"changes"` // unix socket that takes each Change as a line of JSON; "" sends none
}

// NeighborOnLink is a machine at the other end of one of the router's cables.
type NeighborOnLink struct {
	Name      string          `json:"name"`
	ASN       uint32          `json:"asn"`
	Interface string          `json:"interface"`
	Local     netip.Addr      `json:"local"` // IPv4, of the cable
	Remote    netip.Addr      `json:"remote"`
	Local6    netip.Addr      `json:"local6"`
	Relation  layout.Relation `json:"relation"`
	Prepend   int             `json:"prepend,omitempty"`
	Default   bool            `json:"default,omitempty"`
	Dial      bool            `json:"dial,omitempty"` // this end connects; else it waits
	BFD       time.Duration   `json:"bfd,omitempty"`  // between two BFD packets; 0 means no BFD
}

// FileOf is the file of a network's router. Of two routers the one of the lower router id connects; to a POP's node and
// to software that is not ours, the router does.
func FileOf(m *layout.Machine) File {
	f := File{Name: m.Name, ASN: m.ASN, RouterID: m.RouterID, Prefixes: m.Prefixes, Source: m.Clients, Static: m.Hosts()}
	for _, i := range m.Interfaces {
		far := i.Peer.Machine
		f.Neighbors = append(f.Neighbors, NeighborOnLink{
			Name: far.Name, ASN: far.ASN, Interface: i.Name, Local: i.V4, Remote: i.Peer.V4, Local6: i.V6,
			Relation: i.Relation, Prepend: i.Prepend, Default: i.Default, BFD: i.BFD,
			Dial: far.Software != "ours" || m.RouterID.Less(far.RouterID),
		})
	}
	return f
}

// Write stores f in a file that this user alone may read.
func (f *File) Write(file string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encode router %q: %w", f.Name, err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write router %q: %w", f.Name, err)
	}
	return nil
}

// ReadFile loads what Write stored.
func ReadFile(file string) (*File, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read router: %w", err)
	}
	var f File
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("read router %q: %w", file, err)
	}
	return &f, nil
}
