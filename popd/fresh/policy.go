package fresh

import (
	"net/http"
	"strings"
	"time"
)

// Instant is a moment on a clock that never steps: nanoseconds, equal to Unix time when the process began. Ages are
// differences of Instants, so that a wall clock that is set anew neither refreshes nor spoils what is stored. Dates in
// header fields are compared with wall time alone.
type Instant int64

// At is the Instant of t. Both times come from one clock; start is when the process began.
func At(start, t time.Time) Instant { return Instant(start.UnixNano() + int64(t.Sub(start))) }

// Sub is i - j.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Add is d after i.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Policy is what a stored answer allows, worked out once when it is stored. It is a plain value of 40 bytes without
// pointers: a store may copy it into a record as it is.
type Policy struct {
	Born     Instant       // when its age was 0, at the latest (RFC 9111 §4.2.3)
	Lifetime time.Duration // freshness lifetime: an age below it is fresh (RFC 9111 §4.2.1)
	// How long past its lifetime it may be used at most: while it is being validated, and when validation fails.
	WhileRevalidate, IfError time.Duration
	Flags                    Flags
}

// Flags are what a Policy says with yes or no.
type Flags uint8

// The flags.
const (
	NoCache    Flags = 1 << iota // validate before every use (RFC 9111 §5.2.2.4)
	NeverStale                   // never used stale, whoever would take it (RFC 9111 §4.2.4)
	Immutable                    // does not change while it is fresh (RFC 8246)
)

// heuristicShare of the time since Last-Modified is the lifetime of an answer that names none (RFC 9111 §4.2.2);
// heuristicMax bounds it.
const (
	heuristicShare = 10
	heuristicMax   = 24 * time.Hour
)

// NewPolicy works out what the answer of x allows. It is only meaningful if Storable says yes.
func NewPolicy(x Exchange, r Rule) Policy {
	cc := Governing(x.Response)
	p := Policy{Born: x.Received.Add(-initialAge(x))}
	if cc.Has("immutable") {
		p.Flags |= Immutable
	}
	if r.applies(x.Status) {
		p.Lifetime, p.WhileRevalidate, p.IfError = r.TTL, r.WhileRevalidate, r.IfError
		return p
	}
	p.Lifetime = lifetime(x, cc)
	if cc.Has("no-cache") {
		p.Flags |= NoCache
	}
	swr, saysSWR := cc.Seconds("stale-while-revalidate")
	sie, saysSIE := cc.Seconds("stale-if-error")
	switch {
	case p.Flags&NoCache != 0 || cc.Has("must-revalidate") || cc.Has("proxy-revalidate"):
		p.Flags |= NeverStale // RFC 9111 §4.2.4: whoever else would allow it
		return p
	case !cc.Has("s-maxage"):
		p.WhileRevalidate, p.IfError = r.WhileRevalidate, r.IfError
	case !saysSWR && !saysSIE:
		p.Flags |= NeverStale // RFC 9111 §5.2.2.10: like proxy-revalidate, unless the same answer allows it
	}
	if saysSWR {
		p.WhileRevalidate = swr
	}
	if saysSIE {
		p.IfError = sie
	}
	return p
}

// lifetime is freshness_lifetime of RFC 9111 §4.2.1 for a shared cache.
func lifetime(x Exchange, cc Directives) time.Duration {
	if d, ok := cc.Seconds("s-maxage"); ok {
		return d
	}
	if d, ok := cc.Seconds("max-age"); ok {
		return d
	}
	date := dateOf(x)
	if lines, ok := x.Response["Expires"]; ok && !cc.Targeted {
		if len(lines) != 1 {
			return 0
		}
		at, ok := ParseDate(lines[0])
		if !ok {
			return 0 // "0" above all means already expired (RFC 9111 §5.3)
		}
		return min(max(at.Sub(date), 0), maxDelta)
	}
	if !heuristic[x.Status] && !cc.Has("public") {
		return 0
	}
	modified, ok := ParseDate(x.Response.Get("Last-Modified"))
	if !ok || !modified.Before(date) {
		return 0
	}
	return min(date.Sub(modified)/heuristicShare, heuristicMax)
}

// dateOf is the answer's Date, or when it came if it has none that can be read (RFC 9110 §6.6.1).
func dateOf(x Exchange) time.Time {
	if date, ok := ParseDate(x.Response.Get("Date")); ok {
		return date
	}
	return x.ResponseTime
}

// initialAge is corrected_initial_age of RFC 9111 §4.2.3. What a cache of ours says counts in place of Age and Date:
// its clock is not ours, and an hour between the two would make all its answers look an hour old.
func initialAge(x Exchange) time.Duration {
	delay := max(0, x.ResponseTime.Sub(x.RequestTime))
	if x.TierAge >= 0 {
		return x.TierAge + delay
	}
	apparent := max(0, x.ResponseTime.Sub(dateOf(x)))
	return max(apparent, ageField(x.Response)+delay)
}

// ageField reads Age: of several values the first counts, an unreadable one is ignored (RFC 9111 §5.1).
func ageField(h http.Header) time.Duration {
	first, _, _ := strings.Cut(h.Get("Age"), ",")
	return parseDelta(strings.Trim(first, " \t"))
}

// Age is current_age of RFC 9111 §4.2.3, never negative.
func (p Policy) Age(now Instant) time.Duration { return max(0, now.Sub(p.Born)) }

// TTL is how long the answer stays fresh, counted from now; negative once it is stale.
func (p Policy) TTL(now Instant) time.Duration { return p.Lifetime - p.Age(now) }

// Use is what a stored answer is good for at a moment.
type Use uint8

// The uses, from best to worst.
const (
	Fresh      Use = iota // serve it
	Refresh               // serve it and validate it meanwhile (stale-while-revalidate)
	Revalidate            // validate it first
)

// Use says what the answer is good for at time now, for a request that wishes w.
func (p Policy) Use(now Instant, w Wish) Use {
	age := p.Age(now)
	ttl := p.Lifetime - age
	switch {
	case p.Flags&NoCache != 0, w.NoCache:
		return Revalidate
	case w.Aged && age > w.MaxAge && (p.Flags&Immutable == 0 || ttl <= 0):
		return Revalidate
	case ttl > 0 && ttl >= w.MinFresh:
		return Fresh
	case w.MinFresh > 0:
		return Revalidate
	case -ttl < p.WhileRevalidate, -ttl < w.MaxStale && p.Flags&NeverStale == 0:
		return Refresh
	}
	return Revalidate
}

// UsableOnError reports whether the answer may stand in for one that upstream could not give (RFC 5861 §4).
func (p Policy) UsableOnError(now Instant, w Wish) bool {
	if p.Flags&NoCache != 0 {
		return false
	}
	ttl := p.TTL(now)
	return ttl > 0 || -ttl < p.IfError || -ttl < max(w.IfError, w.MaxStale) && p.Flags&NeverStale == 0
}

// IsError reports whether an upstream's status is a failure that a stale answer may cover (RFC 5861 §4).
func IsError(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
