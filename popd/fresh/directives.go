// Package fresh decides what a shared cache may do with an answer: store it, for how long, serve it stale, or answer a
// client's condition from it (RFC 9111, RFC 5861, RFC 8246, RFC 9213, conditions of RFC 9110 §13). It is pure: messages
// and the time come in, decisions go out. What a header field says wrongly counts against freshness, never for it.
package fresh

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDelta is the longest delta-seconds; more counts as this (RFC 9111 §1.2.2).
const maxDelta = math.MaxInt32 * time.Second

// Directives is a Cache-Control field (RFC 9111 §5.2), or one that is targeted at us (RFC 9213).
type Directives struct {
	Targeted bool // it came from a targeted field: Cache-Control and Expires do not count
	names    map[string]directive
}

// directive is one directive's argument.
type directive struct {
	bare    bool          // it had none, at least once
	seconds time.Duration // of one that carries seconds; 0 if they cannot be read or two of them differ
	fields  []string      // the field names of a qualified private or no-cache, as http.Header has them
}

// delta lists the directives whose argument is a number of seconds.
var delta = map[string]bool{
	"max-age": true, "s-maxage": true, "stale-while-revalidate": true, "stale-if-error": true,
	"max-stale": true, "min-fresh": true,
}

// TargetedField is the field that governs us before Cache-Control (RFC 9213 §3.1).
const TargetedField = "Cdn-Cache-Control"

// Governing returns the directives that an answer has for us: of its targeted field if it has one that can be read and
// is not empty, else of its Cache-Control (RFC 9213 §2.2).
func Governing(h http.Header) Directives {
	if lines := h[TargetedField]; len(lines) > 0 {
		if d, ok := parseTargeted(lines); ok {
			return d
		}
	}
	return ParseCacheControl(h["Cache-Control"])
}

// ParseCacheControl reads the lines of a Cache-Control field. It never fails: what is no directive is skipped. Names
// are case-insensitive; arguments may be tokens or quoted strings, whichever the directive prefers (RFC 9111 §5.2).
func ParseCacheControl(lines []string) Directives {
	var d Directives
	for _, line := range lines {
		for line != "" {
			var name, value string
			var argued bool
			name, value, argued, line = nextDirective(line)
			if name != "" {
				d.add(name, value, argued)
			}
		}
	}
	return d
}

func (d *Directives) add(name, value string, argued bool) {
	if d.names == nil {
		d.names = map[string]directive{}
	}
	one, seen := d.names[name]
	switch {
	case delta[name]:
		n := parseDelta(value)
		if seen && one.seconds != n {
			n = 0 // two that differ: neither can be trusted (RFC 9111 §4.2.1)
		}
		one.seconds = n
	case argued && (name == "private" || name == "no-cache"):
		if fields, ok := fieldNames(value); ok {
			one.fields = append(one.fields, fields...)
		} else {
			one.bare = true
		}
	}
	one.bare = one.bare || !argued
	d.names[name] = one
}

// Has reports whether the directive is there and stands for the whole answer: a private or no-cache that only names
// fields (RFC 9111 §5.2.2.4 and §5.2.2.7) does not.
func (d Directives) Has(name string) bool {
	one, ok := d.names[name]
	return ok && (one.bare || len(one.fields) == 0)
}

// Bare reports whether the directive is there without an argument.
func (d Directives) Bare(name string) bool { return d.names[name].bare }

// Seconds returns a directive's number of seconds, and whether the directive is there; an invalid one is 0.
func (d Directives) Seconds(name string) (time.Duration, bool) {
	one, ok := d.names[name]
	return one.seconds, ok
}

// Fields returns the names of the fields that a qualified private or no-cache keeps from being stored.
func (d Directives) Fields() []string {
	return append(slices.Clone(d.names["private"].fields), d.names["no-cache"].fields...)
}

// decisive are fields without which an answer means something else. A directive that would take one of them out is
// taken for the unqualified one.
var decisive = []string{
	"Cache-Control", TargetedField, "Vary", "Expires", "Date", "Age", "Etag", "Last-Modified", "Content-Type", "Content-Length",
	"Content-Encoding", "Content-Range", "Location",
}

// fieldNames reads the argument of a qualified directive; it is not ok if that names no field, or a decisive one.
func fieldNames(value string) (names []string, ok bool) {
	for name := range strings.SplitSeq(value, ",") {
		name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
		if name == "" {
			continue
		}
		if !isToken(name) || slices.Contains(decisive, name) {
			return nil, false
		}
		names = append(names, name)
	}
	return names, len(names) > 0
}

// nextDirective splits one `name[=value]` off a list; commas within a quoted string do not end it.
func nextDirective(s string) (name, value string, argued bool, rest string) {
	end := strings.IndexAny(s, ",=\"")
	if end < 0 || s[end] != '=' {
		// No argument. A stray quote spoils everything up to the next comma.
		item, after, _ := strings.Cut(s, ",")
		if strings.Contains(item, `"`) {
			return "", "", false, after
		}
		return canonicalName(item), "", false, after
	}
	name = canonicalName(s[:end])
	s = strings.TrimLeft(s[end+1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ",")
		return name, strings.TrimSpace(value), true, rest
	}
	value, s, ok := unquote(s)
	junk, rest, _ := strings.Cut(s, ",")
	if !ok || strings.TrimSpace(junk) != "" {
		return name, `"`, true, rest
	}
	return name, value, true, rest
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

// isToken: RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
