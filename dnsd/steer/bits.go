package steer

import "math/bits"

// MaxCandidates is how many POPs a topology, or targets a host, may have: one bit stands for each.
const MaxCandidates = 512

// mask is a set of candidates.
type mask [MaxCandidates / 64]uint64

func (m *mask) has(i uint16) bool { return m[i>>6&7]>>(i&63)&1 != 0 }

func (m *mask) set(i uint16) { m[i>>6&7] |= 1 << (i & 63) }

func (m *mask) len() (n int) {
	for _, word := range m {
		n += bits.OnesCount64(word)
	}
	return n
}
