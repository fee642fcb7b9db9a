package h1

import "bytes"

// These tables are read only.
var (
	space = []byte(" ")
	crlf  = []byte("\r\n")

	// knownNames are in lower case.
	knownNames = [numKnown]string{
		AcceptEncoding: "accept-encoding", AcceptLanguage: "accept-language", Authorization: "authorization",
		CacheControl: "cache-control", CDNLoop: "cdn-loop", Connection: "connection", ContentLength: "content-length",
		Cookie: "cookie", Expect: "expect", Host: "host", IfMatch: "if-match", IfModifiedSince: "if-modified-since",
		IfNoneMatch: "if-none-match", IfRange: "if-range", IfUnmodifiedSince: "if-unmodified-since", Pragma: "pragma",
		Range: "range", TransferEncoding: "transfer-encoding", Upgrade: "upgrade",
	}
	knownByLength = byLength(knownNames)

	tokenByte = bytesOf(func(c byte) bool {
		return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
	})
	// valueByte: VCHAR, SP, HTAB and obs-text (RFC 9110 §5.5).
	valueByte = bytesOf(func(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' })
	// hostByte: what a reg-name, an IPv4 address or an IPv6 address in brackets may hold (RFC 3986 §3.2.2). No percent
	// sign: nobody writes a host so but to have two readers read it differently.
	hostByte = bytesOf(func(c byte) bool {
		return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || bytes.IndexByte([]byte("-._~!$&'()*+,;="), c) >= 0
	})
)

func bytesOf(in func(byte) bool) (t [256]bool) {
	for i := range t {
		t[i] = in(byte(i))
	}
	return t
}

func byLength(names [numKnown]string) (t [24][]Known) {
	for k, name := range names {
		if name != "" {
			t[len(name)] = append(t[len(name)], Known(k))
		}
	}
	return t
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenByte[c] {
			return false
		}
	}
	return len(b) > 0
}

// equalFold compares with a string in lower case, ASCII only.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
