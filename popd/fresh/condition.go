package fresh

import (
	"net/http"
	"slices"
	"strings"
)

// NotModified reports whether a GET or HEAD with these fields may be answered 304 from a stored answer of status 200
// with header stored (RFC 9110 §13.1.2, §13.1.3, §13.2.2; RFC 9111 §4.3.2). If-None-Match wins over If-Modified-Since.
func NotModified(request, stored http.Header) bool {
	if lines := request["If-None-Match"]; len(lines) > 0 {
		return matchesTag(lines, stored.Get("Etag"))
	}
	since, ok := ParseDate(request.Get("If-Modified-Since"))
	if !ok {
		return false
	}
	at := stored.Get("Last-Modified")
	if at == "" {
		at = stored.Get("Date") // RFC 9111 §4.3.2: it was not modified after it was made
	}
	modified, ok := ParseDate(at)
	return ok && !modified.After(since)
}

// matchesTag compares weakly (RFC 9110 §8.8.3.2).
func matchesTag(lines []string, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for _, line := range lines {
		if strings.TrimSpace(line) == "*" {
			return true
		}
		for line != "" {
			line = strings.TrimLeft(line, " \t,")
			line = strings.TrimPrefix(line, "W/")
			if !strings.HasPrefix(line, `"`) {
				_, line, _ = strings.Cut(line, ",") // no entity tag
				continue
			}
			end := strings.IndexByte(line[1:], '"')
			if end < 0 {
				break
			}
			if line[:end+2] == tag {
				return true
			}
			line = line[end+2:]
		}
	}
	return false
}

// Validators returns the request fields that ask upstream whether a stored answer still holds; empty if it has
// nothing to validate it by (RFC 9111 §4.3.1).
func Validators(stored http.Header) http.Header {
	h := http.Header{}
	if tag := stored.Get("Etag"); tag != "" {
		h.Set("If-None-Match", tag)
	}
	if at := stored.Get("Last-Modified"); at != "" {
		h.Set("If-Modified-Since", at)
	}
	return h
}

// Validates reports whether a 304 is about the stored answer: the validators that it carries are the stored ones
// (RFC 9111 §4.3.4). A 304 without any is about what we asked for.
func Validates(notModified, stored http.Header) bool {
	for _, name := range []string{"Etag", "Last-Modified"} {
		if v := notModified.Get(name); v != "" && stored.Get(name) != "" {
			return strings.TrimPrefix(v, "W/") == strings.TrimPrefix(stored.Get(name), "W/")
		}
	}
	return true
}

// notModifiedFields are what a 304 carries of the stored header (RFC 9110 §15.4.5), and what says who answered.
var notModifiedFields = []string{"Cache-Control", TargetedField, "Content-Location", "Date", "Etag", "Expires", "Last-Modified", "Vary", "Cache-Status", "Via"}

// KeptInNotModified reports whether a 304 to a client carries the field of this canonical name.
func KeptInNotModified(name []byte) bool {
	return slices.Contains(notModifiedFields, string(name))
}

// NotModifiedHeader picks from a stored header what a 304 carries: to a cache of ours all that updates its own stored
// header (RFC 9111 §3.2).
func NotModifiedHeader(stored http.Header, toCache bool) http.Header {
	if toCache {
		return Merge(nil, stored)
	}
	h := http.Header{}
	for _, name := range notModifiedFields {
		if v, ok := stored[name]; ok {
			h[name] = v
		}
	}
	return h
}

// Safe reports whether a method changes nothing at the origin (RFC 9110 §9.2.1). After any other method that
// succeeded, what is stored for its URL must go (RFC 9111 §4.4).
func Safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}
