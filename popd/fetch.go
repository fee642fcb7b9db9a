package popd

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/ranges"
	"github.com/catchment-net/catchment/popd/store/mem"
	"github.com/catchment-net/catchment/popd/upstream"
	"github.com/catchment-net/catchment/purge"
	"github.com/catchment-net/catchment/site"
)

// answer is the header of what a flight brings. It is immutable.
type answer struct {
	status    int
	header    http.Header // for the asker
	shared    http.Header // for all others, and for the store
	length    int64       // bytes of the body, -1 if unknown
	variant   key.Key
	vary      []string
	policy    fresh.Policy
	storable  bool // a shared cache may keep it; else it is its asker's alone
	stored    bool // we keep it, if it arrives whole
	fwdStatus int  // what upstream said; 0 if it was not asked or gave no answer
	slices    *sliced
	detail    string // why it is not stored, or why it is stale
	tier      string // who gave it; empty: nobody was asked
	took      time.Duration
}

// storedResult is a flight's result over a stored entry, whose pin it takes over.
func (s *Server) storedResult(a *ask, e mem.View, header http.Header, fwdStatus int, detail string) flight.Result[*answer] {
	vary := e.Vary()
	return flight.Result[*answer]{
		Value: &answer{
			status: e.Status(), header: header, shared: header, length: e.Length(), variant: key.Variant(a.primary, vary, a.header),
			vary: vary, policy: e.Policy(), storable: true, stored: true, fwdStatus: fwdStatus, detail: detail,
			slices: s.slicesOf(a, e, header),
		},
		Shared: true, View: e, Length: e.Length(),
	}
}

// fetch asks upstream on behalf of a. What is stored and stale is validated; what the flight before this one has stored
// since a looked is the answer. It runs in the flight's goroutine and must not touch the client's request.
func (s *Server) fetch(a *ask) flight.Fetch[*answer] {
	return func(ctx context.Context) (flight.Result[*answer], error) {
		stamp := s.o.Purges.Head()
		have, _ := s.lookup(a.primary, a.selects)
		stale := have.View
		if have.OK() && have.use(s.now(), a.wish) == fresh.Fresh {
			return s.storedResult(a, stale, stale.Fields(), 0, ""), nil
		}
		var header http.Header // of what is stored; nil if there is nothing
		if stale.OK() {
			header = stale.Fields()
		}
		if !stale.OK() && a.seek > 0 {
			if r, ok, err := s.sought(ctx, a, stamp); ok || err != nil {
				return r, err
			}
		}
		resp, ours, err := s.askUpstream(ctx, a, header, ranges.Range{})
		status := 0
		if err == nil {
			status = resp.StatusCode
		}
		switch {
		case stale.OK() && (err != nil || fresh.IsError(status)) && stale.Policy().UsableOnError(s.now(), a.wish):
			if err == nil {
				_ = resp.Body.Close() // its content is not used
			}
			return s.storedResult(a, stale, header, status, "stale-if-error"), nil
		case err != nil:
			stale.Release()
			return flight.Result[*answer]{}, err
		case status == http.StatusNotModified && stale.OK():
			_ = resp.Body.Close() // a 304 has none
			return s.validated(a, stale, header, stamp, resp), nil
		}
		stale.Release()
		return s.received(a, stamp, resp, ours), nil
	}
}

// askUpstream sends the request that may be shared, with validators if there is something to validate: stale is its
// header. An upstream that confirms another answer than the one we hold is asked again without. Of a part with a length,
// only that part is asked for. It is ours to keep unless a peer keeps it.
func (s *Server) askUpstream(ctx context.Context, a *ask, stale http.Header, part ranges.Range) (resp *upstream.Answer, ours bool, err error) {
	peer, hot, done := s.peer(a)
	req := s.request(a, http.MethodGet, a.shareable())
	req.Peer, req.Wish = peer, a.wish.Field()
	if part.Length > 0 {
		req.Header["Range"] = []string{fmt.Sprintf("bytes=%d-%d", part.Start, part.End()-1)}
	}
	plain := req.Header
	if stale != nil {
		req.Header = plain.Clone()
		maps.Copy(req.Header, fresh.Validators(stale))
	}
	resp, err = s.countUpstream(s.up.Do(ctx, req))
	if err == nil && resp.StatusCode == http.StatusNotModified && (stale == nil || !fresh.Validates(resp.Header, stale)) {
		_ = resp.Body.Close() // a 304 has none
		req.Header = plain
		resp, err = s.countUpstream(s.up.Do(ctx, req))
	}
	if err != nil {
		done()
		return nil, false, err
	}
	resp.Body = &untilClosed{resp.Body, done}
	return resp, resp.Tier != upstream.Peer || hot, nil
}

// untilClosed is a body whose end somebody waits for.
type untilClosed struct {
	io.ReadCloser
	done func()
}

// Close is io.Closer's. It may be called once.
func (b *untilClosed) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

// request is what goes upstream for a.
func (s *Server) request(a *ask, method string, header http.Header) upstream.Request {
	return upstream.Request{
		Method: method, URL: a.url, Header: header, Rules: a.c.digests[a.site], Shields: s.shields(a),
		Origins: a.site.Origins, OriginHost: a.site == a.c.any, Early: a.early,
	}
}

// validated is the stored answer with the fields of a 304 (RFC 9111 §4.3.4). It takes stale's pin over.
func (s *Server) validated(a *ask, stale mem.View, stored http.Header, stamp uint64, resp *upstream.Answer) flight.Result[*answer] {
	x := s.exchange(a, resp)
	x.Response, x.Status = fresh.Merge(stored, cleaned(resp.Header)), stale.Status()
	header := x.Response
	if age, ok := resp.Header["Age"]; ok { // it is the 304's, and not part of what is stored
		x.Response = maps.Clone(header)
		x.Response["Age"] = age
	}
	shared, policy := fresh.Shared(header), fresh.NewPolicy(x, a.rule)
	r := s.storedResult(a, stale, shared, resp.StatusCode, "")
	r.Value.header, r.Value.policy, r.Value.tier, r.Value.took = header, policy, resp.Tier, tookOf(resp)
	if ok, why := s.storable(a, x, resp); !ok {
		s.store.Remove(a.primary)
		s.marks.Set(a.primary, s.o.Now().Add(hitForMiss))
		r.Value.storable, r.Value.stored, r.Value.detail, r.Shared = false, false, why, false
		return r
	}
	// Not before the flight has looked whether it was forgotten: an unsafe request may have come meanwhile.
	r.Keep = func(*mem.Fill) error {
		s.store.Update(stale, mem.Entry{
			Primary: a.primary, Status: stale.Status(), Header: shared, Policy: policy, Tags: purgeTags(a, shared), Stamp: stamp,
		})
		return nil
	}
	r.Shared = s.usable(policy, resp)
	return r
}

// storable is fresh.Storable, but for answers of nodes that key the URL in another way.
func (s *Server) storable(a *ask, x fresh.Exchange, resp *upstream.Answer) (ok bool, why string) {
	if !a.ofOurRules(resp) {
		return false, "rules"
	}
	return fresh.Storable(x, a.rule)
}

// received judges a full answer: whose it is, and whether it is kept; it is not if it is not ours.
func (s *Server) received(a *ask, stamp uint64, resp *upstream.Answer, ours bool) flight.Result[*answer] {
	x := s.exchange(a, resp)
	ans := &answer{
		status: resp.StatusCode, header: cleaned(fresh.Header(resp.Header, resp.StatusCode, a.rule)), length: resp.ContentLength,
		policy: fresh.NewPolicy(x, a.rule), fwdStatus: resp.StatusCode, tier: resp.Tier, took: tookOf(resp),
	}
	vary, varyOK := key.Vary(append(fresh.ImpliedVary(resp.Header), resp.Header["Vary"]...))
	ans.shared = fresh.Shared(ans.header)
	ans.vary, ans.variant = vary, key.Variant(a.primary, vary, a.header)
	ans.storable, ans.detail = s.storable(a, x, resp)
	switch {
	case !ans.storable:
	case !varyOK || !mayVary(a.site.Cache, vary):
		ans.storable, ans.detail = false, "vary"
	case unkeyed(x.Request, vary):
		ans.storable, ans.detail = false, "unkeyed"
	}
	if fault.Is(fault.SharesPrivate) {
		ans.storable, ans.policy.Lifetime, ans.policy.Flags = true, time.Hour, 0
	}
	fits := resp.ContentLength <= s.o.MaxObject
	if !fits {
		ans.detail = "too-large"
	}
	usable := s.usable(ans.policy, resp)
	if !fits && ans.storable && usable && s.sliceable(a, ans, resp) {
		_ = resp.Body.Close() // its slices are fetched as they are asked for
		return s.slicedResult(a, ans, stamp)
	}
	ans.stored = ans.storable && fits && ours
	r := flight.Result[*answer]{Value: ans, Shared: ans.storable && fits && usable, Body: resp.Body, Length: resp.ContentLength}
	switch {
	case r.Shared:
		s.marks.Clear(a.primary)
	case ans.detail != "unkeyed" && !fresh.IsError(resp.StatusCode) && !fresh.Blames(resp.StatusCode):
		s.marks.Set(a.primary, s.o.Now().Add(hitForMiss))
	}
	if ans.stored && (usable || worthKeeping(ans)) {
		r.Keep = func(body *mem.Fill) error { return s.keep(a, ans, stamp, body) }
	} else {
		ans.stored = false
	}
	return r
}

// worthKeeping reports whether an answer that is stale from the start may serve later: by validation, or as a stand-in.
func worthKeeping(ans *answer) bool {
	return len(fresh.Validators(ans.header)) > 0 || ans.policy.WhileRevalidate > 0 || ans.policy.IfError > 0
}

// keep stores an answer that has arrived whole.
func (s *Server) keep(a *ask, ans *answer, stamp uint64, body *mem.Fill) error {
	return body.Commit(mem.Entry{
		Primary: a.primary, Variant: ans.variant, Vary: ans.vary,
		Status: ans.status, Header: ans.shared, Policy: ans.policy, Tags: purgeTags(a, ans.shared), Stamp: stamp,
	})
}

// purgeTags are the surrogate keys of an answer as purges name them, and its groups as only its own origin may end them.
func purgeTags(a *ask, h http.Header) []purge.Tag {
	tags := a.groupTags(fresh.Groups(h["Cache-Groups"]))
	for _, name := range fresh.Tags(h) {
		tags = append(tags, purge.KeyTag(a.site.Name, name))
	}
	return tags
}

// groupTags are cache groups within the origin of a's URL (RFC 9875 §2).
func (a *ask) groupTags(groups []string) []purge.Tag {
	tags := make([]purge.Tag, len(groups), len(groups)+8)
	for i, g := range groups {
		tags[i] = purge.KeyTag(a.site.Name, a.url.Scheme+"\x00"+a.url.Host+"\x00"+g)
	}
	return tags
}

// mayVary reports whether the site lets answers differ by all of these fields.
func mayVary(c site.Cache, names []string) bool {
	return c.Vary == nil || !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(c.Vary, name) })
}

// exchange is what is judged: the request that went upstream for a, and its answer.
func (s *Server) exchange(a *ask, resp *upstream.Answer) fresh.Exchange {
	return fresh.Exchange{
		Method: http.MethodGet, Request: a.shareable(), Response: resp.Header, Status: resp.StatusCode,
		RequestTime: resp.RequestTime, ResponseTime: resp.ResponseTime,
		Received: fresh.At(s.start, resp.ResponseTime), TierAge: resp.Age,
	}
}

// usable reports whether an answer that has just come may go to all who wait for it. A stale one may if it can be used
// while it is validated, or comes from a node that had nothing better: its origin is in trouble, and the more we
// asked, the worse it would get.
func (s *Server) usable(p fresh.Policy, resp *upstream.Answer) bool {
	now := s.now()
	return p.Use(now, fresh.Wish{}) != fresh.Revalidate || resp.Tier != upstream.Origin && p.UsableOnError(now, fresh.Wish{})
}

// cleaned drops the fields that only nodes may say.
func cleaned(h http.Header) http.Header {
	for name := range h {
		if strings.HasPrefix(name, "Catchment-") {
			delete(h, name)
		}
	}
	return h
}
