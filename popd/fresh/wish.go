package fresh

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Wish is what a request says about the stored answers that it would take (RFC 9111 §5.2.1, RFC 5861 §4). The zero
// value takes any.
type Wish struct {
	NoCache      bool // validate first
	NoStore      bool // store nothing of the answer
	OnlyIfCached bool // 504 rather than ask upstream
	Aged         bool // MaxAge is set
	MaxAge       time.Duration
	MinFresh     time.Duration
	MaxStale     time.Duration
	IfError      time.Duration
}

// ReadWish reads a request's wish. Unless obey is set only only-if-cached counts: RFC 9111 §5.2.1 leaves the others to
// the cache, and each of them lets any client send any request to the origin.
func ReadWish(h http.Header, obey bool) Wish {
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		return Wish{NoCache: obey && hasNoCachePragma(h)}
	}
	cc := ParseCacheControl(lines)
	w := Wish{OnlyIfCached: cc.Has("only-if-cached")}
	if !obey {
		return w
	}
	w.NoCache, w.NoStore = cc.Has("no-cache"), cc.Has("no-store")
	w.MaxAge, w.Aged = cc.Seconds("max-age")
	w.MinFresh, _ = cc.Seconds("min-fresh")
	w.IfError, _ = cc.Seconds("stale-if-error")
	var any bool
	if w.MaxStale, any = cc.Seconds("max-stale"); any && cc.Bare("max-stale") {
		w.MaxStale = maxDelta // without a number it takes an answer of any age (RFC 9111 §5.2.1.2)
	}
	return w
}

// Field is the Cache-Control field that says the same to another cache of ours; "" if there is nothing to say. What
// concerns this cache alone, no-store and only-if-cached, is left out.
func (w Wish) Field() string {
	var all []string
	add := func(set bool, name string, d time.Duration) {
		if set {
			all = append(all, name+"="+strconv.FormatInt(int64(d/time.Second), 10))
		}
	}
	if w.NoCache {
		all = append(all, "no-cache")
	}
	add(w.Aged, "max-age", w.MaxAge)
	add(w.MinFresh > 0, "min-fresh", w.MinFresh)
	add(w.MaxStale > 0, "max-stale", w.MaxStale)
	add(w.IfError > 0, "stale-if-error", w.IfError)
	return strings.Join(all, ", ")
}

// hasNoCachePragma: the field counts only where Cache-Control is missing (RFC 9111 §5.4).
func hasNoCachePragma(h http.Header) bool {
	return ParseCacheControl(h["Pragma"]).Has("no-cache")
}
