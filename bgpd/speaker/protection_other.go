//go:build !linux

package speaker

import (
	"fmt"
	"net/netip"
)

// tryProtection refuses what gobgp cannot set here.
func tryProtection(n Neighbor) error {
	if n.Password == "" && !n.TTLSecurity {
		return nil
	}
	return fmt.Errorf("neighbor %q: passwords (TCP MD5) and TTL security are set on Linux alone", n.Name)
}

// guardListeners has nothing to guard: no neighbour has TTL security here.
func guardListeners([]netip.AddrPort, []Neighbor) error { return nil }
