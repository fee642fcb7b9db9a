package purge

import (
	"crypto/sha256"
	"encoding/binary"
)

// Tag names what a purge can name: a URL, or a surrogate key of a site. It is a hash, the same on every node. That two
// names share one is so rare (2^-64 a pair) that the harm, a needless fetch, does not count.
type Tag uint64

// URLTag is the tag of the URL with this key, all its variants together.
func URLTag(primary [32]byte) Tag { return tagOf(primary[:8]) }

// KeyTag is the tag of a surrogate key of a site: two sites may use one key and are purged apart.
func KeyTag(site, key string) Tag {
	sum := sha256.Sum256([]byte("key\x00" + site + "\x00" + key))
	return tagOf(sum[:8])
}

// tagOf is never 0, by which an Index knows an empty place.
func tagOf(b []byte) Tag { return Tag(max(1, binary.BigEndian.Uint64(b))) }
