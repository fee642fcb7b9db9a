package key

import (
	"bytes"
	"crypto/sha256"

	"github.com/catchment-net/catchment/site"
)

// maxPlain is how many bytes of scheme, host and target Plain looks at; a longer URL takes Canonical.
const maxPlain = 512

// Plain is Canonical(…).Key() for a request whose URL is canonical already, without allocating: host as Host returns it
// and target as it stood in the request line. It is not ok if that cannot be told at a glance: an encoding, a dot
// segment, a parameter out of order or one that does not count. Then only Canonical knows.
func Plain(scheme, host string, target []byte, rules *site.Key) (k Key, ok bool) {
	var buf [maxPlain]byte
	if rules.Scheme != "" {
		scheme = rules.Scheme
	}
	n := len(scheme) + 1 + len(host) + 1
	if n+len(target)+1 > len(buf) || len(target) == 0 || target[0] != '/' {
		return k, false
	}
	b := append(buf[:0], scheme...)
	b = append(append(append(b, 0), host...), 0)
	path, query, _ := bytes.Cut(target, []byte{'?'})
	if !plainPath(path) || !plainQuery(query, rules) {
		return k, false
	}
	b = append(append(append(b, path...), 0), query...)
	return sha256.Sum256(b), true
}

// plainPath: nothing to decode or encode, no segment that begins with a dot.
func plainPath(path []byte) bool {
	var last byte
	for _, c := range path {
		if !isPathByte(c) || c == '.' && last == '/' {
			return false
		}
		last = c
	}
	return true
}

func plainQuery(query []byte, rules *site.Key) bool {
	var before []byte
	for more := len(query) > 0; more; {
		var pair []byte
		pair, query, more = bytes.Cut(query, []byte{'&'})
		if len(pair) == 0 {
			return false
		}
		for _, c := range pair {
			if !isQueryByte(c) {
				return false
			}
		}
		name, _, _ := bytes.Cut(pair, []byte{'='})
		if bytes.IndexByte(name, '+') >= 0 || !rules.Unsorted && bytes.Compare(before, name) > 0 || !counts(name, *rules) {
			return false
		}
		before = name
	}
	return true
}
