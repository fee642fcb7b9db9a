package node

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"github.com/catchment-net/catchment/dnsd/cookie"
	"github.com/catchment-net/catchment/keys"
)

// cookieSecrets derives the secrets of DNS cookies from the fleet's gossip keys, so that every node takes the cookies of
// every other, and they change as the gossip key does: the old one is accepted as long. Without keys there are none.
func cookieSecrets(m *keys.Material) (*cookie.Secrets, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // dnsd makes one up
	}
	var all [][]byte
	for _, key := range append([][]byte{m.GossipKey}, m.OldGossipKeys...) {
		secret, err := hkdf.Key(sha256.New, key, nil, "catchment dns cookies", cookie.SecretSize)
		if err != nil {
			return nil, fmt.Errorf("derive the secret of DNS cookies: %w", err)
		}
		all = append(all, secret)
	}
	return cookie.New(all...)
}
