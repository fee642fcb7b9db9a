// Package ranges reads and writes requests for parts of an answer (RFC 9110 §14). It is pure.
//
//	Range: bytes=0-99            206, Content-Range: bytes 0-99/5000
//	Range: bytes=0-99,200-299    206, multipart/byteranges, each part with its Content-Range
//	Range: bytes=9000-           416, Content-Range: bytes */5000
//	Range: items=1-2             200, as if there were none
package ranges

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxRanges is how many ranges one request may ask for; with more it gets the whole answer. So does one whose ranges
// add up to more than that: many small or overlapping ranges are an attack (RFC 9110 §17.15).
const MaxRanges = 16

// maxField bounds what is read of the field, in bytes.
const maxField = 1024

// Range is a part of a body, in bytes. Length is above 0.
type Range struct{ Start, Length int64 }

// End is the position after the last byte.
func (r Range) End() int64 { return r.Start + r.Length }

// Parse reads a Range field for a body of length bytes. It is not ok if the field is to be ignored: it is malformed, of
// another unit, or asks too much. If it is ok, and no range has any byte of the body, there are none: the answer is 416.
// Ranges that overlap or touch are made one; else they keep their order.
func Parse(field string, length int64) (all []Range, ok bool) {
	unit, list, found := strings.Cut(field, "=")
	if !found || len(field) > maxField || !strings.EqualFold(strings.Trim(unit, " \t"), "bytes") {
		return nil, false
	}
	specs := 0
	for spec := range strings.SplitSeq(list, ",") {
		spec = strings.Trim(spec, " \t")
		if spec == "" {
			continue // an empty list element (RFC 9110 §5.6.1.2)
		}
		if specs++; specs > MaxRanges {
			return nil, false
		}
		r, valid := parseSpec(spec, length)
		if !valid {
			return nil, false
		}
		if r.Length > 0 {
			all = append(all, r)
		}
	}
	var total int64
	for _, r := range all {
		if r.Length > length-total {
			return nil, false
		}
		total += r.Length
	}
	return merge(all), specs > 0
}

// parseSpec reads one range. One without any byte of the body has no length.
func parseSpec(spec string, length int64) (r Range, valid bool) {
	first, last, found := strings.Cut(spec, "-")
	if !found || first == "" && last == "" {
		return Range{}, false
	}
	if first == "" {
		n, ok := digits(last)
		n = min(n, length)
		return Range{length - n, n}, ok
	}
	from, ok := digits(first)
	to := int64(math.MaxInt64)
	if ok && last != "" {
		to, ok = digits(last)
	}
	if !ok || to < from {
		return Range{}, false
	}
	return Range{from, max(min(to, length-1)-from+1, 0)}, true
}

// digits reads a number; one that is too large counts as the largest.
func digits(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64 - 1, true
	}
	return min(n, math.MaxInt64-1), true
}

// merge makes those that overlap or touch one, in the place of the first of them.
func merge(all []Range) []Range {
	var out []Range
	for _, r := range all {
		for i := 0; i < len(out); i++ {
			if o := out[i]; r.Start <= o.End() && o.Start <= r.End() {
				start := min(r.Start, o.Start)
				r = Range{start, max(r.End(), o.End()) - start}
				out = slices.Delete(out, i, i+1)
				i = -1 // what is larger now may touch others
			}
		}
		out = append(out, r)
	}
	return out
}

// ContentRange is the field that says which part of a body of length bytes r is.
func (r Range) ContentRange(length int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", r.Start, r.End()-1, length)
}

// Unsatisfied is the Content-Range of a 416 for a body of length bytes.
func Unsatisfied(length int64) string { return fmt.Sprintf("bytes */%d", length) }

// Ascending reports whether the ranges can be served in one pass over the body.
func Ascending(all []Range) bool {
	return slices.IsSortedFunc(all, func(a, b Range) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
}

// ParseContent reads a Content-Range that names its bytes and the length of the whole body.
func ParseContent(field string) (r Range, length int64, ok bool) {
	unit, rest, _ := strings.Cut(strings.TrimSpace(field), " ")
	span, whole, found := strings.Cut(rest, "/")
	first, last, dash := strings.Cut(span, "-")
	from, ok1 := digits(first)
	to, ok2 := digits(last)
	length, ok3 := digits(whole)
	if !found || !dash || !ok1 || !ok2 || !ok3 || !strings.EqualFold(unit, "bytes") || from > to || to >= length {
		return Range{}, 0, false
	}
	return Range{from, to - from + 1}, length, true
}

// Applies reports whether the ranges of a request may be served from an answer with header stored, as its If-Range says
// (RFC 9110 §13.1.5): without one, yes; else only if it names the answer's strong validator.
func Applies(request, stored http.Header) bool {
	lines := request["If-Range"]
	switch {
	case len(lines) == 0:
		return true
	case len(lines) > 1:
		return false
	case strings.HasPrefix(lines[0], `"`):
		return lines[0] == stored.Get("Etag")
	}
	return lines[0] == stored.Get("Last-Modified") && strongDate(stored)
}

// Validator is what tells two states of a resource apart byte for byte: a strong entity tag, or a Last-Modified so old
// that nothing can have changed within the same second since. It is empty if the answer has none.
func Validator(h http.Header) string {
	switch tag := h.Get("Etag"); {
	case len(tag) >= 2 && strings.HasPrefix(tag, `"`) && strings.HasSuffix(tag, `"`):
		return tag
	case tag == "" && strongDate(h):
		return h.Get("Last-Modified")
	}
	return ""
}

// strongAge is how much older than Date a Last-Modified must be to be a strong validator.
const strongAge = time.Minute

// strongDate reports whether Last-Modified is a strong validator (RFC 9110 §8.8.2.2).
func strongDate(h http.Header) bool {
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return false
	}
	date, err := http.ParseTime(h.Get("Date"))
	return err == nil && date.Sub(modified) >= strongAge
}
