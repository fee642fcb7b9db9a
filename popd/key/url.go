// Package key names cached answers. Two requests that any cache of the fleet may answer alike have one Key, in every
// tier; a request's canonical form, not what the client wrote, is also what an origin is asked for, so that nothing
// outside the key can influence an answer that is stored. It is pure.
package key

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// Key is the SHA-256 of a canonical URL, with or without selected request header fields (Variant).
type Key [sha256.Size]byte

// String is the key's first 8 bytes in hexadecimal, for messages.
func (k Key) String() string { return fmt.Sprintf("%x", k[:8]) }

// URL is a canonical URL. Equal URLs have equal fields.
type URL struct {
	Scheme string // "http" or "https"
	Host   string // lower case, without the scheme's default port
	Path   string // starts with "/"; percent-encoded
	Query  string // without "?"; percent-encoded, sorted by name
}

// Canonical makes the canonical form of a URL (RFC 3986 §6.2.2 and §6.2.3): lower-case scheme and host, no default
// port, upper-case percent-encodings and none of unreserved characters, no dot segments. Of the query, parameters are
// sorted by name (those of one name keep their order), empty ones go, and so do those whose decoded name matches one of
// the drop globs, in which `*` matches any run of characters. Path and query are as they stood in the request.
func Canonical(scheme, host, path, query string, drop []string) URL {
	u := URL{Scheme: strings.ToLower(scheme), Host: strings.ToLower(host)}
	port := ":80"
	if u.Scheme == "https" {
		port = ":443"
	}
	u.Host = strings.TrimSuffix(u.Host, port)
	u.Path = removeDots(normalise(path, isPathByte))
	u.Query = sortQuery(normalise(query, isQueryByte), drop)
	return u
}

// Key hashes the URL. A zero byte, which no part can hold, keeps the parts apart.
func (u URL) Key() Key {
	return sha256.Sum256([]byte(u.Scheme + "\x00" + u.Host + "\x00" + u.Path + "\x00" + u.Query))
}

// RequestURI is path and query as they go on the wire.
func (u URL) RequestURI() string {
	if u.Query == "" {
		return u.Path
	}
	return u.Path + "?" + u.Query
}

// String is the URL in full.
func (u URL) String() string { return u.Scheme + "://" + u.Host + u.RequestURI() }

// normalise decodes percent-encoded unreserved characters, encodes bytes that may not stand bare, and writes
// hexadecimal digits in upper case. A "%" that starts no encoding becomes "%25".
func normalise(s string, bare func(byte) bool) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			d := unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
			if isUnreserved(d) {
				b.WriteByte(d)
			} else {
				writeEncoded(&b, d)
			}
		case c != '%' && bare(c):
			b.WriteByte(c)
		default:
			writeEncoded(&b, c)
		}
	}
	return b.String()
}

func writeEncoded(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF"
	b.WriteByte('%')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}

// removeDots applies RFC 3986 §5.2.4 to an absolute path; an empty or relative one gets a leading slash first.
func removeDots(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	out := make([]string, 0, len(segments))
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".", "..":
			if s == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "") // "/a/." and "/a/b/.." both name the folder "/a/"
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

func sortQuery(query string, drop []string) string {
	pairs := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		if pair == "" {
			return true
		}
		name := decode(nameOf(pair))
		return slices.ContainsFunc(drop, func(glob string) bool { return Glob(glob, name) })
	})
	slices.SortStableFunc(pairs, func(a, b string) int { return strings.Compare(nameOf(a), nameOf(b)) })
	return strings.Join(pairs, "&")
}

func nameOf(pair string) string {
	name, _, _ := strings.Cut(pair, "=")
	return name
}

// decode undoes the encodings that normalise has left, and `+`, which stands for a space in a query.
func decode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%' && i+2 < len(s):
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
		case s[i] == '+':
			b.WriteByte(' ')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// isPathByte: pchar and "/" of RFC 3986 §3.3.
func isPathByte(c byte) bool {
	return isUnreserved(c) || strings.IndexByte("!$&'()*+,;=:@/", c) >= 0
}

func isQueryByte(c byte) bool { return isPathByte(c) || c == '?' }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	default:
		return c - 'A' + 10
	}
}
