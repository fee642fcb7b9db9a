package popd

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/store/mem"
	"github.com/catchment-net/catchment/popd/upstream"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
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
	storable  bool   // a shared cache may keep it; else it is its asker's alone
	stored    bool   // we keep it, if it arrives whole
	fwdStatus int    // what upstream said; 0 if it was not asked or gave no answer
	detail    string // why it is not stored, or why it is stale
}

// result is a flight's result over a stored entry.
func (e storedAnswer) result(fwdStatus int, detail string) flight.Result[*answer] {
	return flight.Result[*answer]{
		Value: &answer{
			status: e.Status, header: e.Header, shared: e.Header, length: e.Length, variant: e.Variant, vary: e.Vary, policy: e.Policy,
			storable: true, stored: true, fwdStatus: fwdStatus, detail: detail,
		},
		Shared: true, Chunks: e.Body, Length: e.Length,
	}
}

// storedAnswer gives an entry its result method.
type storedAnswer struct{ *mem.Entry }

// fetch asks upstream on behalf of a; stale, if not nil, is what we have and may only be validated. It runs in the
// flight's goroutine and must not touch the client's request.
func (s *Server) fetch(a *ask, stale *mem.Entry) flight.Fetch[*answer] {
	return func(ctx context.Context) (flight.Result[*answer], error) {
		// The flight before this one may have stored its answer after we looked.
		if e, _ := s.store.Get(a.primary, a.matches); e != nil && e != stale {
			if e.Policy.Use(s.now(), a.wish) == fresh.Fresh {
				return storedAnswer{e}.result(0, ""), nil
			}
			stale = e
		}
		resp, err := s.askUpstream(ctx, a, stale)
		if stale != nil && (err != nil || fresh.IsError(resp.StatusCode)) && stale.Policy.UsableOnError(s.now(), a.wish) {
			if err != nil {
				return storedAnswer{stale}.result(0, "stale-if-error"), nil
			}
			_ = resp.Body.Close() // its content is not used
			return storedAnswer{stale}.result(resp.StatusCode, "stale-if-error"), nil
		}
		if err != nil {
			return flight.Result[*answer]{}, err
		}
		if resp.StatusCode == http.StatusNotModified && stale != nil {
			_ = resp.Body.Close() // a 304 has none
			return s.validated(a, stale, resp)
		}
		return s.received(a, resp), nil
	}
}

// askUpstream sends the request that may be shared, with validators if there is something to validate. An upstream
// that confirms another answer than the one we hold is asked again without.
func (s *Server) askUpstream(ctx context.Context, a *ask, stale *mem.Entry) (*upstream.Answer, error) {
	req := upstream.Request{
		Method: http.MethodGet, URL: a.url, Header: a.shareable(), Origins: a.site.Origins,
		Shields: s.shields(a), OriginHost: a.site == a.c.any, Early: a.early, Wish: a.wish.Field(),
	}
	plain := req.Header
	if stale != nil {
		req.Header = plain.Clone()
		maps.Copy(req.Header, fresh.Validators(stale.Header))
	}
	resp, err := s.countUpstream(s.up.Do(ctx, req))
	if err == nil && resp.StatusCode == http.StatusNotModified && (stale == nil || !fresh.Validates(resp.Header, stale.Header)) {
		_ = resp.Body.Close() // a 304 has none
		req.Header = plain
		return s.countUpstream(s.up.Do(ctx, req))
	}
	return resp, err
}

// shields are the nodes to ask before the origin: none for another node's request, which ends the tiers.
func (s *Server) shields(a *ask) []*topology.Node {
	if a.edge != "" || a.c.node == nil || fault.Is(fault.ShieldBypassed) {
		return nil
	}
	return upstream.Shields(a.c.topology, a.c.node.POP, s.view.Load(), a.primary)
}

// validated is the stored answer with the fields of a 304 (RFC 9111 §4.3.4).
func (s *Server) validated(a *ask, stale *mem.Entry, resp *upstream.Answer) (flight.Result[*answer], error) {
	x := s.exchange(a, resp)
	x.Response, x.Status = fresh.Merge(stale.Header, cleaned(resp.Header)), stale.Status
	header := x.Response
	if age, ok := resp.Header["Age"]; ok { // it is the 304's, and not part of what is stored
		x.Response = maps.Clone(header)
		x.Response["Age"] = age
	}
	e := *stale
	e.Header, e.Policy = fresh.Shared(header), fresh.NewPolicy(x, a.rule)
	r := storedAnswer{&e}.result(resp.StatusCode, "")
	r.Value.header = header
	if ok, why := fresh.Storable(x, a.rule); !ok {
		s.store.Remove(a.primary)
		s.marks.Set(a.primary, s.o.Now().Add(hitForMiss))
		r.Value.storable, r.Value.stored, r.Value.detail, r.Shared = false, false, why, false
		return r, nil
	}
	// Not before the flight has looked whether it was forgotten: an unsafe request may have come meanwhile.
	r.Whole = func([][]byte, int64) { s.store.Put(&e) }
	r.Shared = s.usable(e.Policy, resp)
	return r, nil
}

// received judges a full answer: whose it is, and whether it is kept.
func (s *Server) received(a *ask, resp *upstream.Answer) flight.Result[*answer] {
	x := s.exchange(a, resp)
	ans := &answer{
		status: resp.StatusCode, header: cleaned(fresh.Header(resp.Header, resp.StatusCode, a.rule)), length: resp.ContentLength,
		policy: fresh.NewPolicy(x, a.rule), fwdStatus: resp.StatusCode,
	}
	vary, varyOK := key.Vary(resp.Header["Vary"])
	ans.shared = fresh.Shared(ans.header)
	ans.vary, ans.variant = vary, key.Variant(a.primary, vary, a.header)
	ans.storable, ans.detail = fresh.Storable(x, a.rule)
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
	ans.stored = ans.storable && fits
	usable := s.usable(ans.policy, resp)
	r := flight.Result[*answer]{Value: ans, Shared: ans.stored && usable, Body: resp.Body, Length: resp.ContentLength}
	switch {
	case r.Shared:
		s.marks.Clear(a.primary)
	case ans.detail != "unkeyed" && !fresh.IsError(resp.StatusCode):
		s.marks.Set(a.primary, s.o.Now().Add(hitForMiss))
	}
	if ans.stored && (usable || worthKeeping(ans)) {
		r.Whole = func(chunks [][]byte, length int64) { s.keep(a, ans, chunks, length) }
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
func (s *Server) keep(a *ask, ans *answer, chunks [][]byte, length int64) {
	s.store.Put(&mem.Entry{
		Primary: a.primary, Variant: ans.variant, Vary: ans.vary,
		Status: ans.status, Header: ans.shared, Body: chunks, Length: length, Policy: ans.policy,
		Tags: fresh.Tags(ans.shared),
	})
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
// while it is validated, or comes from a shield that had nothing better: its origin is in trouble, and the more we
// asked, the worse it would get.
func (s *Server) usable(p fresh.Policy, resp *upstream.Answer) bool {
	now := s.now()
	return p.Use(now, fresh.Wish{}) != fresh.Revalidate || resp.Tier == upstream.Shield && p.UsableOnError(now, fresh.Wish{})
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
