// Package key names cached answers. Two requests that any cache of the fleet may answer alike have one Key, in every
// tier; a request's canonical form, not what the client wrote, is also what an origin is asked for, so that nothing
// outside the key can influence an answer that is stored. It is pure.
package key

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/site"
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

// Canonical makes the canonical form of a URL (RFC 3986 §6.2.2 and §6.2.3): lower-case scheme and host, no final dot and
// no default port, upper-case percent-encodings and none of unreserved characters, no dot segments. Empty segments count
// (`//` is not `/`), and so do case, `;` and encoded slashes within a path. Of the query, rules says which parameters
// stay and whether they are sorted by name (those of one name keep their order); empty ones go. Names are compared with
// the globs decoded. Path and query are as they stood in the request. It is idempotent.
func Canonical(scheme, host, path, query string, rules site.Key) URL {
	u := URL{Scheme: lower(scheme)}
	u.Host = Host(u.Scheme, host)
	if rules.Scheme != "" {
		u.Scheme = rules.Scheme
	}
	u.Path = removeDots(normalise(path, isPathByte))
	u.Query = choose(normalise(query, isQueryByte), rules)
	return u
}

// Host is the canonical form of a Host field: lower case as far as it is ASCII (other letters may become those of
// another name), no final dot, no default port of the scheme.
func Host(scheme, host string) string {
	host = lower(host)
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i+1:]
	}
	if strings.IndexByte(name, ':') >= 0 && !strings.HasSuffix(name, "]") {
		return host // no name and port
	}
	name = strings.TrimRight(name, ".")
	if port == "" || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return name
	}
	return name + ":" + port
}

// lower lowers ASCII letters alone.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] |= 0x20
				}
			}
			return string(b)
		}
	}
	return s
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

// LoosePath is the path as a careless origin may read it: everything decoded, backslashes as slashes, no parameters
// after `;`, no empty or dot segments. A rule for a path should know both readings.
func (u URL) LoosePath() string {
	if !strings.ContainsAny(u.Path, "%;") && !strings.Contains(u.Path, "//") {
		return u.Path
	}
	path := strings.ReplaceAll(unescape(u.Path), `\`, "/")
	var out []string
	folder := strings.HasSuffix(path, "/")
	for s := range strings.SplitSeq(path, "/") {
		s, _, _ = strings.Cut(s, ";")
		switch s {
		case "", ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, s)
		}
	}
	if folder && len(out) > 0 {
		out = append(out, "")
	}
	return "/" + strings.Join(out, "/")
}

// unescape undoes encodings, again and again as long as there are any: an origin behind another proxy does so twice.
func unescape(s string) string {
	for range 3 {
		if strings.IndexByte(s, '%') < 0 {
			break
		}
		s = decode(strings.ReplaceAll(s, "+", "%2B"))
	}
	return s
}

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

// choose keeps the parameters that count, in their order.
func choose(query string, rules site.Key) string {
	if query == "" {
		return ""
	}
	pairs := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		return pair == "" || !counts(decode(nameOf(pair)), rules)
	})
	if !rules.Unsorted {
		slices.SortStableFunc(pairs, func(a, b string) int { return strings.Compare(nameOf(a), nameOf(b)) })
	}
	return strings.Join(pairs, "&")
}

// counts reports whether the site wants the parameter in the key.
func counts[T ~string | ~[]byte](name T, rules site.Key) bool {
	matches := func(globs []string) bool {
		for _, g := range globs {
			if site.Match(g, name) {
				return true
			}
		}
		return false
	}
	return (len(rules.KeepQuery) == 0 || matches(rules.KeepQuery)) && !matches(rules.DropQuery)
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
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
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

// What a byte may be in a URL.
const (
	unreserved = 1 << iota // RFC 3986 §2.3
	pathByte               // pchar and "/", RFC 3986 §3.3
	queryByte              // RFC 3986 §3.4
)

// classes says for each byte what it may be.
var classes = func() (t [256]uint8) {
	for c := range 256 {
		if b := byte(c); b|0x20 >= 'a' && b|0x20 <= 'z' || '0' <= b && b <= '9' || strings.IndexByte("-._~", b) >= 0 {
			t[c] = unreserved | pathByte | queryByte
		}
	}
	for _, c := range []byte("!$&'()*+,;=:@/") {
		t[c] = pathByte | queryByte
	}
	t['?'] = queryByte
	return t
}()

func isUnreserved(c byte) bool { return classes[c]&unreserved != 0 }

func isPathByte(c byte) bool { return classes[c]&pathByte != 0 }

func isQueryByte(c byte) bool { return classes[c]&queryByte != 0 }

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
