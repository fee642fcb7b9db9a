package steer

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"net/netip"
)

// The networks that hashing keeps together: what one site of an access network has. An answer that was drawn holds for
// the whole of such a network, and its scope says so.
const (
	networkBits4 = 24
	networkBits6 = 48
)

// networkBits is the length of a's network.
func networkBits(a netip.Addr) uint8 {
	if a.Is4() {
		return networkBits4
	}
	return networkBits6
}

// networkOf is a's network as a number.
func networkOf(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]) >> (32 - networkBits4))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8])>>(64-networkBits6) | 1<<63
}

// seedOf is a hash of a name that is the same on every node, so that all give one client one answer.
func seedOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return mix(h.Sum64())
}

// mix spreads what lies near each other (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// accepts says whether a candidate that bears only a share of its load, of whole, takes the clients of a network. It
// depends on these alone: the same networks stay away as long as the share is the same, and a smaller share sends
// further ones away and brings none back.
func (c *candidate) accepts(network uint64, share uint16) bool {
	return uint16(mix(network*0x9e3779b97f4a7c15^c.seed)>>48) < share
}

// whole is the share of a candidate that bears all of its load.
const whole = math.MaxUint16

// luck is a network's number at a candidate, above 0 and below 1. salt is the host's, so that a network does not get the
// same place on all hosts.
func (c *candidate) luck(network, salt uint64) float64 {
	x := mix(network*0xd6e8feb86659fd93 ^ c.seed ^ salt)
	return (float64(x>>11) + 0.5) / (1 << 53)
}

// score is how much a network of clients is drawn to a candidate: the lowest of all takes it. Each is the lowest for its
// share of the networks, and when one goes, only its own clients move, in proportion to the weights of the others
// (weighted rendezvous hashing).
func (c *candidate) score(network, salt uint64, share uint16) float64 {
	return -math.Log(c.luck(network, salt)) / (c.weight * float64(share))
}

// beats returns the score if it is below lowest. Since -ln u >= 1-u, most that are not need no logarithm.
func (c *candidate) beats(network, salt uint64, share uint16, lowest float64) (float64, bool) {
	u, load := c.luck(network, salt), c.weight*float64(share)
	if (1-u)/load >= lowest {
		return lowest, false
	}
	score := -math.Log(u) / load
	return score, score < lowest
}
