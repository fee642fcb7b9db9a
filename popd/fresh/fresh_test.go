package fresh

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// epoch is when every exchange of these tests took place.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a date field so many seconds from epoch.
func at(seconds int) string {
	return epoch.Add(time.Duration(seconds) * time.Second).Format(http.TimeFormat)
}

// head makes a header of "Name: value" lines.
func head(lines ...string) http.Header {
	h := http.Header{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Add(name, value)
	}
	return h
}

func exchange(status int, request, response []string) Exchange {
	return Exchange{
		Method: http.MethodGet, Status: status, Request: head(request...), Response: head(response...),
		RequestTime: epoch, ResponseTime: epoch, Received: instant(0), TierAge: -1,
	}
}

// instant is so long after epoch.
func instant(after time.Duration) Instant { return At(epoch, epoch.Add(after)) }

func TestDirectives(t *testing.T) {
	for _, tt := range []struct {
		name, field, directive string
		has                    bool
		seconds                time.Duration
	}{
		{"RFC 9111 §5.2: names are case-insensitive", "Max-AGE=7", "max-age", true, 7 * time.Second},
		{"§5.2: quoted form", `max-age="7"`, "max-age", true, 7 * time.Second},
		{"§5.2: a comma in a quoted string", `foo="a, private", max-age=7`, "private", false, 0},
		{"§5.2: an escaped quote", `foo="a\", private", max-age=7`, "max-age", true, 7 * time.Second},
		{"§5.2: a quoted string that never ends", `max-age="7`, "max-age", true, 0},
		{"§5.2.2.7: qualified private is not the whole answer's", `private="x-a, x-b", max-age=7`, "private", false, 0},
		{"§5.2.2.7: without a name it is", `private="", max-age=7`, "private", true, 0},
		{"§5.2.2.7: so is one that names what decides", `private="x-a, vary"`, "private", true, 0},
		{"§5.2.2.7: and one beside a bare one", `private, private="x-a"`, "private", true, 0},
		{"§5.2.2.4: qualified no-cache, as a token", `no-cache=x-a`, "no-cache", false, 0},
		{"§4.2.1: two that differ", "max-age=7, max-age=9", "max-age", true, 0},
		{"§4.2.1: two that agree", "max-age=7, max-age=7", "max-age", true, 7 * time.Second},
		{"§4.2.1: no number", "max-age=7s", "max-age", true, 0},
		{"§4.2.1: negative", "max-age=-7", "max-age", true, 0},
		{"§1.2.2: no argument", "max-age", "max-age", true, 0},
		{"§1.2.2: too large", "max-age=99999999999999999999", "max-age", true, maxDelta},
		{"§5.2: another directive's name inside", "xmax-age=7", "max-age", false, 0},
		{"§5.2: spaces", " no-store ,, public ", "no-store", true, 0},
	} {
		d := ParseCacheControl([]string{tt.field})
		got, _ := d.Seconds(tt.directive)
		if d.Has(tt.directive) != tt.has || got != tt.seconds {
			t.Errorf("%s: %s: has %v, %v; want %v, %v", tt.name, tt.field, d.Has(tt.directive), got, tt.has, tt.seconds)
		}
	}
}

func TestStorable(t *testing.T) {
	lines := func(l ...string) []string { return l }
	ttl := Rule{TTL: time.Hour}
	for _, tt := range []struct {
		name              string
		status            int
		request, response []string
		rule              Rule
		want              string // why not; "" means storable
	}{
		{"RFC 9111 §3: explicit freshness", 200, nil, lines("Cache-Control: max-age=1"), Rule{}, ""},
		{"§3: any final status with it", 599, nil, lines("Cache-Control: max-age=1"), Rule{}, ""},
		{"§3: no-store", 200, nil, lines("Cache-Control: max-age=1, no-store"), Rule{}, "no-store"},
		{"§3: private", 200, nil, lines("Cache-Control: private, max-age=1"), Rule{}, "private"},
		{"§3: private in a second line", 200, nil, lines("Cache-Control: max-age=1", "Cache-Control: private"), Rule{}, "private"},
		{"§3: heuristic status with a validator", 404, nil, lines("Last-Modified: " + at(-10)), Rule{}, ""},
		{"§3: neither", 200, nil, nil, Rule{}, "no-freshness"},
		{"§3: 302 without freshness", 302, nil, lines("ETag: \"a\""), Rule{}, "status"},
		{"§3.3: partial content", 206, nil, lines("Cache-Control: max-age=1"), Rule{}, "status"},
		{"§3.5: Authorization", 200, lines("Authorization: x"), lines("Cache-Control: max-age=1"), Rule{}, "authorization"},
		{"§3.5: with public", 200, lines("Authorization: x"), lines("Cache-Control: max-age=1, public"), Rule{}, ""},
		{"§3.5: with s-maxage", 200, lines("Authorization: x"), lines("Cache-Control: s-maxage=1"), Rule{}, ""},
		{"§3.5: with must-revalidate", 200, lines("Authorization: x"), lines("Cache-Control: max-age=1, must-revalidate"), Rule{}, ""},
		{"§3.5: a rule does not open it", 200, lines("Authorization: x"), nil, ttl, "authorization"},
		{"§5.2.2.3: must-understand", 299, nil, lines("Cache-Control: max-age=1, must-understand"), Rule{}, "must-understand"},
		{"§5.2.2.3: understood, no-store is void", 200, nil, lines("Cache-Control: max-age=1, no-store, must-understand"), Rule{}, ""},
		{"§7.3: Set-Cookie, stricter than the RFC", 200, nil, lines("Cache-Control: public, max-age=1", "Set-Cookie: a=b"), Rule{}, "set-cookie"},
		{"a cookie and only heuristics", 200, lines("Cookie: a=b"), lines("Last-Modified: " + at(-10)), Rule{}, "cookie"},
		{"a rule's ttl over Set-Cookie and no-store", 200, nil, lines("Cache-Control: no-store", "Set-Cookie: a=b"), ttl, ""},
		{"a rule's ttl is not for errors", 500, nil, nil, ttl, "status"},
		{"a rule's never", 200, nil, lines("Cache-Control: max-age=1"), Rule{Never: true}, "site-rule"},
	} {
		ok, why := Storable(exchange(tt.status, tt.request, tt.response), tt.rule)
		if why != tt.want || ok != (tt.want == "") {
			t.Errorf("%s: %v, %q; want %q", tt.name, ok, why, tt.want)
		}
	}
	if h := Header(head("Set-Cookie: a=b", "Connection: x-a, cache-control", "X-A: 1", "Age: 3", "Cache-Control: private"), 200, ttl); len(h) != 1 || h.Get("Cache-Control") == "" {
		t.Errorf("stored header %v, want Cache-Control alone", h)
	}
}

func TestLifetimeAndAge(t *testing.T) {
	for _, tt := range []struct {
		name           string
		status         int
		response       []string
		lifetime, aged time.Duration // aged: at the moment it came
	}{
		{"RFC 9111 §4.2.1: s-maxage before max-age", 200, []string{"Cache-Control: max-age=1, s-maxage=2", "Expires: " + at(9)}, 2 * time.Second, 0},
		{"§4.2.1: max-age before Expires", 200, []string{"Cache-Control: max-age=1", "Expires: " + at(9)}, time.Second, 0},
		{"§4.2.1: Expires counts from Date", 200, []string{"Expires: " + at(9), "Date: " + at(-1)}, 10 * time.Second, time.Second},
		{"§4.2.1: Expires without Date", 200, []string{"Expires: " + at(9)}, 9 * time.Second, 0},
		{"§5.3: an Expires that cannot be read", 200, []string{"Expires: 0", "Last-Modified: " + at(-1000)}, 0, 0},
		{"§5.3: two Expires", 200, []string{"Expires: " + at(9), "Expires: " + at(9)}, 0, 0},
		{"§4.2.1: invalid max-age is stale, not Expires", 200, []string{"Cache-Control: max-age=x", "Expires: " + at(9)}, 0, 0},
		{"§4.2.2: a tenth of the time since Last-Modified", 200, []string{"Last-Modified: " + at(-1000), "Date: " + at(0)}, 100 * time.Second, 0},
		{"§4.2.2: at most a day", 200, []string{"Last-Modified: " + at(-100*86400)}, 24 * time.Hour, 0},
		{"§4.2.2: not for a status that forbids it", 302, []string{"Last-Modified: " + at(-1000)}, 0, 0},
		{"§4.2.3: the Age field", 200, []string{"Cache-Control: max-age=9", "Age: 4", "Date: " + at(-1)}, 9 * time.Second, 4 * time.Second},
		{"§4.2.3: apparent age", 200, []string{"Cache-Control: max-age=9", "Age: 4", "Date: " + at(-6)}, 9 * time.Second, 6 * time.Second},
		{"§4.2.3: a Date in the future", 200, []string{"Cache-Control: max-age=9", "Date: " + at(60)}, 9 * time.Second, 0},
		{"§5.1: the first of several ages", 200, []string{"Cache-Control: max-age=9", "Age: 2, 7"}, 9 * time.Second, 2 * time.Second},
		{"§5.1: an age that cannot be read", 200, []string{"Cache-Control: max-age=9", "Age: -2"}, 9 * time.Second, 0},
	} {
		p := NewPolicy(exchange(tt.status, nil, tt.response), Rule{})
		if p.Lifetime != tt.lifetime || p.Age(instant(0)) != tt.aged {
			t.Errorf("%s: lifetime %v, age %v; want %v, %v", tt.name, p.Lifetime, p.Age(instant(0)), tt.lifetime, tt.aged)
		}
	}
	slow := exchange(200, nil, []string{"Cache-Control: max-age=9"})
	slow.RequestTime = epoch.Add(-3 * time.Second)
	if got := NewPolicy(slow, Rule{}).Age(instant(time.Second)); got != 4*time.Second {
		t.Errorf("§4.2.3: age after a response delay of 3 s and a second in the store: %v", got)
	}
}

func TestUse(t *testing.T) {
	site := Rule{WhileRevalidate: 5 * time.Second, IfError: 20 * time.Second}
	for _, tt := range []struct {
		name, cc string
		rule     Rule
		after    time.Duration
		want     Use
		onError  bool
	}{
		{"RFC 9111 §4.2: fresh below its lifetime", "max-age=10", Rule{}, 9 * time.Second, Fresh, true},
		{"§4.2: stale at its lifetime", "max-age=10", Rule{}, 10 * time.Second, Revalidate, false},
		{"§5.2.2.4: no-cache", "max-age=10, no-cache", site, 0, Revalidate, false},
		{"RFC 5861 §3: within the window", "max-age=10, stale-while-revalidate=5", Rule{}, 14 * time.Second, Refresh, false},
		{"RFC 5861 §3: beyond it", "max-age=10, stale-while-revalidate=5", Rule{}, 15 * time.Second, Revalidate, false},
		{"RFC 5861 §4: an error", "max-age=10, stale-if-error=5", Rule{}, 14 * time.Second, Revalidate, true},
		{"the site's allowance", "max-age=10", site, 12 * time.Second, Refresh, true},
		{"the origin's word counts before it", "max-age=10, stale-while-revalidate=0, stale-if-error=0", site, 12 * time.Second, Revalidate, false},
		{"§5.2.2.2: must-revalidate forbids all", "max-age=10, must-revalidate, stale-while-revalidate=5", site, 12 * time.Second, Revalidate, false},
		{"§5.2.2.8: so does proxy-revalidate", "max-age=10, proxy-revalidate", site, 12 * time.Second, Revalidate, false},
		{"§5.2.2.10: s-maxage forbids the site's", "s-maxage=10", site, 12 * time.Second, Revalidate, false},
		{"a rule's ttl", "no-store", Rule{TTL: 10 * time.Second}, 9 * time.Second, Fresh, true},
	} {
		p := NewPolicy(exchange(200, nil, []string{"Cache-Control: " + tt.cc}), tt.rule)
		now := instant(tt.after)
		if got := p.Use(now, Wish{}); got != tt.want || p.UsableOnError(now, Wish{}) != tt.onError {
			t.Errorf("%s: use %v, on error %v; want %v, %v", tt.name, got, p.UsableOnError(now, Wish{}), tt.want, tt.onError)
		}
	}
}

// TestFreshnessIsNeverRegained: as time goes on an answer's use only gets worse, and its age grows by that time.
func TestFreshnessIsNeverRegained(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		second := rapid.Int64Range(0, 100)
		p := Policy{
			Lifetime: time.Duration(second.Draw(t, "lifetime")) * time.Second, Born: instant(-time.Duration(second.Draw(t, "age")) * time.Second),
			WhileRevalidate: time.Duration(second.Draw(t, "swr")) * time.Second, Flags: Flags(rapid.IntRange(0, 7).Draw(t, "flags")),
		}
		a := instant(time.Duration(second.Draw(t, "a")) * time.Second)
		wish := Wish{
			NoCache: rapid.Bool().Draw(t, "wish no-cache"), Aged: rapid.Bool().Draw(t, "aged"),
			MaxAge:   time.Duration(second.Draw(t, "max-age")) * time.Second,
			MinFresh: time.Duration(second.Draw(t, "min-fresh")) * time.Second,
			MaxStale: time.Duration(second.Draw(t, "max-stale")) * time.Second,
		}
		later := time.Duration(second.Draw(t, "later")) * time.Second
		b := a.Add(later)
		if p.Use(b, wish) < p.Use(a, wish) || p.Age(b)-p.Age(a) != later {
			t.Fatalf("use %v then %v, age %v then %v", p.Use(a, wish), p.Use(b, wish), p.Age(a), p.Age(b))
		}
	})
}

func TestNotModified(t *testing.T) {
	stored := head(`ETag: W/"a"`, "Last-Modified: "+at(0))
	for _, tt := range []struct {
		name string
		line string
		want bool
	}{
		{"RFC 9110 §13.1.2: weak comparison", `If-None-Match: "a"`, true},
		{"§13.1.2: a list", `If-None-Match: "x,y", W/"a"`, true},
		{"§13.1.2: any", "If-None-Match: *", true},
		{"§13.1.2: not quoted is no tag", "If-None-Match: a", false},
		{"§13.1.2: a comma within a tag", `If-None-Match: "b,"a"`, false},
		{"§13.1.3: not modified since", "If-Modified-Since: " + at(0), true},
		{"§13.1.3: modified since", "If-Modified-Since: " + at(-1), false},
		{"§13.1.3: no date", "If-Modified-Since: yesterday", false},
	} {
		if got := NotModified(head(tt.line), stored); got != tt.want {
			t.Errorf("%s: %s: %v", tt.name, tt.line, got)
		}
	}
	if NotModified(head(`If-None-Match: "b"`, "If-Modified-Since: "+at(0)), stored) {
		t.Error("§13.2.2: If-None-Match wins over If-Modified-Since")
	}
}

func TestMerge(t *testing.T) {
	got := Merge(head("Content-Length: 5", "X-Old: 1", "X-New: 1", "Content-Encoding: gzip"), head("Content-Length: 0", "X-New: 2", "Content-Encoding: br", "Connection: x-hop", "X-Hop: 1"))
	want := head("Content-Length: 5", "X-Old: 1", "X-New: 2", "Content-Encoding: gzip")
	if len(Merge(head(), head("Set-Cookie: a=b"))) != 0 {
		t.Error("a cookie of one client's 304 is merged")
	}
	for name := range want {
		if got.Get(name) != want.Get(name) {
			t.Errorf("RFC 9111 §3.2: %s is %q, want %q", name, got.Get(name), want.Get(name))
		}
	}
	if len(got) != len(want) {
		t.Errorf("merged %v, want %v", got, want)
	}
}

func FuzzParseCacheControl(f *testing.F) {
	f.Add(`max-age="1", private="a,b", no-store`)
	f.Add(`="",,\",max-age=`)
	f.Fuzz(func(t *testing.T, field string) {
		d := ParseCacheControl([]string{field})
		for name := range delta {
			if n, has := d.Seconds(name); n < 0 || n > maxDelta || n > 0 && !has {
				t.Errorf("%s of %q is %v, has %v", name, field, n, has)
			}
		}
		if !strings.Contains(field, `"`) && !ParseCacheControl([]string{field + ",no-store"}).Has("no-store") {
			t.Errorf("a directive after %q is lost", field)
		}
	})
}

func TestHeadUpdates(t *testing.T) {
	stored := head(`ETag: "a"`, "Last-Modified: "+at(0))
	for _, tt := range []struct {
		name string
		head []string
		want bool
	}{
		{"RFC 9111 §4.3.5: the same length", []string{"Content-Length: 5"}, true},
		{"§4.3.5: the same validators", []string{`ETag: "a"`, "Last-Modified: " + at(0)}, true},
		{"§4.3.5: another length", []string{"Content-Length: 6", `ETag: "a"`}, false},
		{"§4.3.5: another tag", []string{"Content-Length: 5", `ETag: "b"`}, false},
		{"§4.3.5: another time", []string{"Content-Length: 5", "Last-Modified: " + at(1)}, false},
		{"nothing to compare", nil, false},
	} {
		if got := Updates(head(tt.head...), stored, 5); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestNotModifiedFindsATagInAnyList: whatever the tags hold, commas and blanks too, weak or not, in one line or several.
func TestNotModifiedFindsATagInAnyList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tag := rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"", "W/"}).Draw(t, "weak") + `"` + rapid.StringMatching(`[ab, *]{0,3}`).Draw(t, "opaque") + `"`
		})
		stored, list := tag.Draw(t, "stored"), rapid.SliceOfN(tag, 1, 4).Draw(t, "list")
		want := false
		h := http.Header{}
		var line string
		for i, l := range list {
			want = want || strings.TrimPrefix(l, "W/") == strings.TrimPrefix(stored, "W/")
			line += l + rapid.SampledFrom([]string{",", ", ", " ,\t"}).Draw(t, "comma")
			if i == len(list)-1 || rapid.Bool().Draw(t, "new line") {
				h.Add("If-None-Match", line)
				line = ""
			}
		}
		if got := NotModified(h, http.Header{"Etag": {stored}}); got != want {
			t.Fatalf("%q with %s stored: %v, want %v", h["If-None-Match"], stored, got, want)
		}
	})
}

func FuzzNotModified(f *testing.F) {
	f.Add(`W/"a", "b`, `"b"`, "Sun, 06 Nov 1994 08:49:37 GMT")
	f.Add(`*`, ``, "Sunday, 06-Nov-94 08:49:37 GMT")
	f.Fuzz(func(t *testing.T, asked, tag, date string) {
		stored := http.Header{"Etag": {tag}, "Last-Modified": {date}}
		if NotModified(http.Header{"If-None-Match": {asked}}, stored) && strings.TrimSpace(asked) != "*" && !strings.Contains(asked, strings.TrimPrefix(tag, "W/")) {
			t.Errorf("%q matches %q", asked, tag)
		}
		at, ok := ParseDate(date)
		if again, same := ParseDate(at.UTC().Format(http.TimeFormat)); ok && (!same || !again.Equal(at)) {
			t.Errorf("%q is %v, which, written again, is %v", date, at, again)
		}
		if ok && !NotModified(http.Header{"If-Modified-Since": {date}}, stored) {
			t.Errorf("%q is modified since itself", date)
		}
	})
}

func BenchmarkUse(b *testing.B) {
	p := NewPolicy(exchange(200, nil, []string{"Cache-Control: max-age=60"}), Rule{})
	now := instant(time.Second)
	b.ReportAllocs()
	for b.Loop() {
		if p.Use(now, Wish{}) != Fresh {
			b.Fatal("stale")
		}
	}
}
