package popd

import (
	"errors"
	"net/http"

	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
)

// maxRejoins is how often a request may join a flight only to learn that its answer is another variant's.
const maxRejoins = 3

// cached answers a GET or HEAD from the store or through a flight.
func (s *Server) cached(w http.ResponseWriter, r *http.Request, a *ask) {
	e, vary := s.lookup(a.primary, a.selects)
	defer e.Release()
	fwd := "uri-miss"
	switch {
	case e.OK():
		now := s.now()
		vary = e.Vary()
		use := e.use(now, a.wish)
		if use == fresh.Revalidate {
			break
		}
		open, leave, err := s.storedBody(r, a, e.View)
		defer leave()
		if err != nil {
			break // its slices are outdated: it is gone
		}
		if use == fresh.Refresh {
			noted(w, resultStale)
			s.flights.Background(key.Variant(a.primary, vary, a.header), a.primary, s.o.Purges.Head(), s.fetch(a))
		} else {
			noted(w, resultHit)
		}
		s.serveStored(w, r, e.View, open, now)
		return
	case vary != nil:
		fwd = "vary-miss"
	}
	if e.OK() {
		fwd = "stale"
		if e.use(s.now(), fresh.Wish{}) != fresh.Revalidate {
			fwd = "request" // it is the client's wish that keeps it from being used
		}
	}
	switch {
	case a.wish.OnlyIfCached: // RFC 9111 §5.2.1.7
		s.refuse(w, http.StatusGatewayTimeout, "only-if-cached", "not in the cache, and the request forbids to ask further")
	case r.Method == http.MethodHead:
		s.head(w, r, a, fwd, e.View)
	default:
		noted(w, resultMiss)
		s.miss(w, r, a, fwd, vary)
	}
}

// miss takes a seat in a flight, and after answers that are another's in the next one. vary is by what the stored
// answers of the URL differ.
func (s *Server) miss(w http.ResponseWriter, r *http.Request, a *ask, fwd string, vary []string) {
	alone := s.marks.Has(a.primary, s.o.Now()) || unkeyed(a.shareable(), vary)
	if alone && r.Header.Get("Range") != "" {
		s.pass(w, r, a, fwd) // the answer is this client's alone, and it wants a part of it
		return
	}
	a.seek = s.seek(r, a)
	for try := 0; ; try++ {
		if try > maxRejoins {
			s.fail(w, a, fwd, errChanged)
			return
		}
		var seat *flight.Seat[*answer]
		if alone || try >= maxRejoins || unkeyed(a.shareable(), vary) {
			seat = s.flights.Alone(a.primary, s.fetch(a))
		} else {
			seat = s.flights.Join(key.Variant(a.primary, vary, a.header), a.primary, s.o.Purges.Head(), s.fetch(a))
		}
		next, done := s.ride(w, r, a, seat, fwd)
		if done {
			return
		}
		vary, alone = next.vary, alone || !next.storable
	}
}

// ride waits for the flight's answer, serves it and gives the seat up. It is not done if the answer is not for this request; what it
// learned of the URL is in next then.
func (s *Server) ride(w http.ResponseWriter, r *http.Request, a *ask, seat *flight.Seat[*answer], fwd string) (next answer, done bool) {
	defer seat.Leave() // also when a broken body panics
	if !await(w, r, a, seat.Ready()) {
		return answer{}, true
	}
	ans, mine, err := seat.Result()
	switch {
	case errors.Is(err, errUnsliceable):
		s.pass(w, r, a, fwd)
		return answer{}, true
	case err != nil:
		s.fail(w, a, fwd, err)
		return answer{}, true
	case !mine:
		return answer{}, false // not storable: the zero answer says so
	case !seat.Asker() && ans.variant != key.Variant(a.primary, ans.vary, a.header):
		return *ans, false
	}
	open, leave, err := s.flightBody(r, a, ans, seat)
	defer leave()
	if errors.Is(err, errChanged) {
		return *ans, false
	}
	if err != nil {
		s.fail(w, a, fwd, err)
		return answer{}, true
	}
	body := seat.Body()
	defer body.Close()
	if !s.serveFlight(w, r, ans, body, open, fwd, seat.Asker()) {
		seat.Finish() // its client has the answer already; the next one may want the body
	}
	return answer{}, true
}
