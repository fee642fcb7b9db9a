package fresh

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Policy is what a stored answer allows, worked out once when it is stored. It is a value.
type Policy struct {
	Lifetime     time.Duration // freshness lifetime; an age below it is fresh
	InitialAge   time.Duration // corrected_initial_age of RFC 9111 §4.2.3
	ResponseTime time.Time     // when its header was received; resident time counts from here
	NoCache      bool          // validate before every use (RFC 9111 §5.2.2.4)
	// How long past its lifetime it may be used at most: while it is being validated, and when validation fails.
	WhileRevalidate, IfError time.Duration
}

// heuristicShare of the time since Last-Modified is the lifetime of an answer that names none (RFC 9111 §4.2.2);
// heuristicMax bounds it.
const (
	heuristicShare = 10
	heuristicMax   = 24 * time.Hour
)

// NewPolicy works out what the answer of x allows. It is only meaningful if Storable says yes.
func NewPolicy(x Exchange, r Rule) Policy {
	cc := ParseCacheControl(x.Response["Cache-Control"])
	p := Policy{InitialAge: initialAge(x), ResponseTime: x.ResponseTime, NoCache: cc.Has("no-cache")}
	if r.applies(x.Status) {
		p.Lifetime, p.NoCache = r.TTL, false
		p.WhileRevalidate, p.IfError = r.WhileRevalidate, r.IfError
		return p
	}
	p.Lifetime = lifetime(x, cc)
	swr, saysSWR := cc.Seconds("stale-while-revalidate")
	sie, saysSIE := cc.Seconds("stale-if-error")
	strict := cc.Has("must-revalidate") || cc.Has("proxy-revalidate") || p.NoCache
	switch {
	case strict: // RFC 9111 §4.2.4: never stale, whoever else would allow it
		return p
	case !cc.Has("s-maxage"):
		// s-maxage forbids stale answers like proxy-revalidate (RFC 9111 §5.2.2.10) unless the same answer allows them.
		p.WhileRevalidate, p.IfError = r.WhileRevalidate, r.IfError
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
	if lines, ok := x.Response["Expires"]; ok {
		if len(lines) != 1 {
			return 0
		}
		at, err := http.ParseTime(lines[0])
		if err != nil {
			return 0 // "0" above all means already expired (RFC 9111 §5.3)
		}
		return min(max(at.Sub(date), 0), maxDelta)
	}
	if !heuristic[x.Status] && !cc.Has("public") {
		return 0
	}
	modified, err := http.ParseTime(x.Response.Get("Last-Modified"))
	if err != nil || !modified.Before(date) {
		return 0
	}
	return min(date.Sub(modified)/heuristicShare, heuristicMax)
}

// dateOf is the answer's Date, or when it came if it has none that can be read (RFC 9110 §6.6.1).
func dateOf(x Exchange) time.Time {
	if date, err := http.ParseTime(x.Response.Get("Date")); err == nil {
		return date
	}
	return x.ResponseTime
}

// initialAge is corrected_initial_age of RFC 9111 §4.2.3.
func initialAge(x Exchange) time.Duration {
	apparent := max(0, x.ResponseTime.Sub(dateOf(x)))
	corrected := ageField(x.Response) + max(0, x.ResponseTime.Sub(x.RequestTime))
	return max(apparent, corrected)
}

// ageField reads Age: of several values the first counts, an unreadable one is ignored (RFC 9111 §5.1).
func ageField(h http.Header) time.Duration {
	first, _, _ := strings.Cut(h.Get("Age"), ",")
	first = strings.TrimSpace(first)
	if _, err := strconv.ParseUint(first, 10, 64); err != nil && (first == "" || strings.Trim(first, "0123456789") != "") {
		return 0
	}
	return parseDelta(first)
}

// Age is current_age of RFC 9111 §4.2.3, never negative.
func (p Policy) Age(now time.Time) time.Duration {
	return max(0, p.InitialAge) + max(0, now.Sub(p.ResponseTime))
}

// TTL is how long the answer stays fresh, counted from now; negative once it is stale.
func (p Policy) TTL(now time.Time) time.Duration { return p.Lifetime - p.Age(now) }

// Use is what a stored answer is good for at a moment.
type Use uint8

// The uses, from best to worst.
const (
	Fresh      Use = iota // serve it
	Refresh               // serve it and validate it meanwhile (stale-while-revalidate)
	Revalidate            // validate it first
)

// Use says what the answer is good for at time now.
func (p Policy) Use(now time.Time) Use {
	ttl := p.TTL(now)
	switch {
	case p.NoCache:
		return Revalidate
	case ttl > 0:
		return Fresh
	case -ttl < p.WhileRevalidate:
		return Refresh
	}
	return Revalidate
}

// UsableOnError reports whether the answer may stand in for one that upstream could not give (RFC 5861 §4).
func (p Policy) UsableOnError(now time.Time) bool {
	ttl := p.TTL(now)
	return !p.NoCache && (ttl > 0 || -ttl < p.IfError)
}

// IsError reports whether an upstream's status is a failure that a stale answer may cover (RFC 5861 §4).
func IsError(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
