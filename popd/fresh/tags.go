package fresh

import (
	"net/http"
	"slices"
	"strings"
)

// The bounds of Tags: of an answer's surrogate keys, those beyond are dropped. Cache-Groups alone may have 32.
const (
	MaxTags      = 128
	maxTagLength = 1024 // bytes
)

// maxGroups is how many cache groups of one field count: as many as every cache must support (RFC 9875 §2).
const maxGroups = 32

// Groups reads Cache-Groups or Cache-Group-Invalidation: a list of strings (RFC 9875 §2 and §3). A broken field names no
// group.
func Groups(lines []string) []string {
	groups, ok := ParseStrings(lines)
	if !ok {
		return nil
	}
	return groups[:min(len(groups), maxGroups)]
}

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
	all = append(all, Groups(h["Cache-Groups"])...)
	all = slices.DeleteFunc(all, func(tag string) bool { return tag == "" || len(tag) > maxTagLength })
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), MaxTags)]
}
