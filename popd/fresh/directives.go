// Package fresh decides what a shared cache may do with an answer: store it, for how long, serve it stale, or answer a
// client's condition from it (RFC 9111, RFC 5861, conditions of RFC 9110 §13). It is pure: messages and the time come
// in, decisions go out. What a header field says wrongly counts against freshness, never for it.
package fresh

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// maxDelta is the longest delta-seconds; more counts as this (RFC 9111 §1.2.2).
const maxDelta = math.MaxInt32 * time.Second

// Directives is a Cache-Control field (RFC 9111 §5.2). Of the directives that carry seconds, the map holds those that
// could be read; a directive with two different values or an unreadable one is there as invalid, which counts as zero.
type Directives struct {
	names   map[string]bool
	seconds map[string]time.Duration
}

// delta lists the directives whose argument is a number of seconds.
var delta = map[string]bool{
	"max-age": true, "s-maxage": true, "stale-while-revalidate": true, "stale-if-error": true,
	"max-stale": true, "min-fresh": true,
}

// ParseCacheControl reads the lines of a Cache-Control field. It never fails: what is no directive is skipped. Names
// are case-insensitive; arguments may be tokens or quoted strings, whichever the directive prefers (RFC 9111 §5.2).
func ParseCacheControl(lines []string) Directives {
	d := Directives{names: map[string]bool{}, seconds: map[string]time.Duration{}}
	for _, line := range lines {
		for line != "" {
			var name, value string
			name, value, line = nextDirective(line)
			if name == "" {
				continue
			}
			seen := d.names[name]
			d.names[name] = true
			if !delta[name] {
				continue
			}
			n := parseDelta(value)
			if seen && d.seconds[name] != n {
				n = 0 // two that differ: neither can be trusted (RFC 9111 §4.2.1)
			}
			d.seconds[name] = n
		}
	}
	return d
}

// Has reports whether the directive is there. The qualified forms of private and no-cache count as the bare ones,
// which is the stricter reading that RFC 9111 §5.2.2.4 and §5.2.2.7 allow.
func (d Directives) Has(name string) bool { return d.names[name] }

// Seconds returns a directive's number of seconds, and whether the directive is there; an invalid one is 0.
func (d Directives) Seconds(name string) (time.Duration, bool) {
	return d.seconds[name], d.names[name]
}

// nextDirective splits one `name[=value]` off a list; commas within a quoted string do not end it.
func nextDirective(s string) (name, value, rest string) {
	end := strings.IndexAny(s, ",=\"")
	if end < 0 || s[end] != '=' {
		// No argument. A stray quote spoils everything up to the next comma.
		item, after, _ := strings.Cut(s, ",")
		if strings.Contains(item, `"`) {
			return "", "", after
		}
		return canonicalName(item), "", after
	}
	name = canonicalName(s[:end])
	s = strings.TrimLeft(s[end+1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ",")
		return name, strings.TrimSpace(value), rest
	}
	value, s, ok := unquote(s)
	junk, rest, _ := strings.Cut(s, ",")
	if !ok || strings.TrimSpace(junk) != "" {
		return name, "invalid", rest
	}
	return name, value, rest
}

// unquote reads the quoted string that s begins with (RFC 9110 §5.6.4); not ok if it never ends.
func unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

func canonicalName(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	if strings.ContainsAny(s, " \t\"") {
		return ""
	}
	return s
}

// parseDelta reads delta-seconds: digits only. What cannot be read is 0, so that it makes an answer stale.
func parseDelta(s string) time.Duration {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return maxDelta // only too large is left
	}
	return time.Duration(n) * time.Second
}
