//go:build !linux

package speaker

import "fmt"

// tryProtection refuses what gobgp cannot set here.
func tryProtection(n Neighbor) error {
	if n.Password == "" && !n.TTLSecurity {
		return nil
	}
	return fmt.Errorf("neighbor %q: passwords (TCP MD5) and TTL security are set on Linux alone", n.Name)
}
