package h1

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// appendStatus writes a status line (RFC 9112 §4), in the version of the request.
func appendStatus(b []byte, minor, status int) []byte {
	b = append(b, "HTTP/1."...)
	b = strconv.AppendInt(b, int64(minor), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = append(b, "status code "...)
		b = strconv.AppendInt(b, int64(status), 10)
	}
	return append(b, '\r', '\n')
}

// appendHeader writes fields sorted by name, but for those that skip names. What could be taken for the end of a line is
// written as a space (response splitting); a name that is no token is left out.
func appendHeader(b []byte, h http.Header, skip func(name string) bool) []byte {
	names := make([]string, 0, len(h))
	for name := range h {
		if !skip(name) && isToken([]byte(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			b = append(b, name...)
			b = append(b, ": "...)
			b = appendValue(b, v)
			b = append(b, '\r', '\n')
		}
	}
	return b
}

func appendValue(b []byte, v string) []byte {
	v = strings.Trim(v, " \t\r\n")
	for i := range len(v) {
		if c := v[i]; c == '\r' || c == '\n' {
			b = append(b, ' ')
		} else {
			b = append(b, c)
		}
	}
	return b
}
