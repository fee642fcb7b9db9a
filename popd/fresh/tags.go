package fresh

import (
	"net/http"
	"slices"
	"strings"
)

// The bounds of Tags: of an answer's surrogate keys, those beyond are dropped. Cache-Groups alone may have 32 of 32
// characters (RFC 9875 §2.1).
const (
	MaxTags      = 128
	maxTagLength = 1024 // bytes
)

// Tags are an answer's surrogate keys, by which it can be purged: Surrogate-Key and xkey (words), Cache-Tag (a list) and
// Cache-Groups (a list of strings, RFC 9875 §2), each once.
func Tags(h http.Header) []string {
	var all []string
	for _, name := range []string{"Surrogate-Key", "Xkey"} {
		for _, line := range h[name] {
			all = append(all, strings.Fields(line)...)
		}
	}
	for _, line := range h["Cache-Tag"] {
		for tag := range strings.SplitSeq(line, ",") {
			all = append(all, strings.TrimSpace(tag))
		}
	}
	if groups, ok := ParseStrings(h["Cache-Groups"]); ok {
		all = append(all, groups...)
	}
	all = slices.DeleteFunc(all, func(tag string) bool { return tag == "" || len(tag) > maxTagLength })
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), MaxTags)]
}
