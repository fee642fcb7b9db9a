package popd

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/ranges"
	"github.com/catchment-net/catchment/popd/store/mem"
	"github.com/catchment-net/catchment/popd/upstream"
	"github.com/catchment-net/catchment/purge"
)

// A large answer is kept as a head, which is an entry like any other but for its body, and slices of its body, fetched
// as they are asked for:
//
//	GET, Range: bytes=3000000000-      head: fields, policy, length, validator, name of the slices
//	  └─► slice 2861 ─► origin           ├─► slice 0      key = SHA-256(variant, name, number)
//	      slice 2862 (ahead)             └─► slice 2861
//
// All slices of a head have its validator and length. One that comes with others ends the head, and with it all its
// slices, whose name is lost: the next request begins anew. That the slices are found by a name drawn at random keeps
// what was invalidated from ever being served again, even if the origin goes back to an old validator.
const sliceSize = 1 << 20

// errUnsliceable says that a part has been asked for of an answer that nobody else may have.
var errUnsliceable = errors.New("ask for a part: the answer is its asker's alone")

// errChanged says that a slice is not of the state of the resource that its head is of.
var errChanged = errors.New("ask for a slice: the resource has changed")

// sliced is what is known of an answer that is kept in slices. It is immutable.
type sliced struct {
	variant   key.Key
	name      uint64
	length    int64 // of the whole body, in bytes
	validator string
	tags      []purge.Tag
	begun     int64 // the slice that the answer's own flight brings, 0 if none
}

// key is that of a slice.
func (sl *sliced) key(i int64) key.Key {
	b := append([]byte("slice\x00"), sl.variant[:]...)
	b = binary.BigEndian.AppendUint64(b, sl.name)
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(i)))
}

// part is where a slice lies in the body.
func (sl *sliced) part(i int64) ranges.Range {
	return ranges.Range{Start: i * sliceSize, Length: min(sliceSize, sl.length-i*sliceSize)}
}

// slicesOf is what is known of a stored entry's slices; nil if it is whole. header is the entry's.
func (s *Server) slicesOf(a *ask, e mem.View, header http.Header) *sliced {
	name, ok := e.Slices()
	if !ok {
		return nil
	}
	return &sliced{
		variant: key.Variant(a.primary, e.Vary(), a.header), name: name, length: e.Length(),
		validator: ranges.Validator(header), tags: append([]purge.Tag(nil), e.Tags()...),
	}
}

// seek is the slice at which to begin with an answer of which nothing is stored: 0, which is the whole answer, unless a
// range begins beyond the first slice. Most answers are small: for a range near their start the whole is fetched.
func (s *Server) seek(r *http.Request, a *ask) int64 {
	parts, ok := ranges.Parse(r.Header.Get("Range"), 1<<62)
	if !ok || len(parts) == 0 || parts[0].End() == 1<<62 && parts[0].Start > 1<<61 || s.unsliced.Has(a.primary, s.o.Now()) {
		return 0 // the last bytes of what may be short
	}
	return parts[0].Start / sliceSize
}

// sliceable reports whether an answer that is too large to be stored whole can be kept in slices.
func (s *Server) sliceable(a *ask, ans *answer, resp *upstream.Answer) bool {
	units := strings.ToLower(strings.Join(resp.Header["Accept-Ranges"], ","))
	return ans.status == http.StatusOK && ranges.Validator(ans.shared) != "" && strings.Contains(units, "bytes") &&
		!s.unsliced.Has(a.primary, s.o.Now())
}

// slicedResult is a flight's result that keeps an answer's head; its body comes in slices.
func (s *Server) slicedResult(a *ask, ans *answer, stamp uint64) flight.Result[*answer] {
	ans.stored, ans.detail = true, ""
	ans.slices = &sliced{
		variant: ans.variant, name: rand.Uint64(), length: ans.length, validator: ranges.Validator(ans.shared),
		tags: purgeTags(a, ans.shared),
	}
	s.marks.Clear(a.primary)
	return flight.Result[*answer]{
		Value: ans, Shared: true, Length: ans.length,
		Keep: func(*mem.Fill) error { return s.keepHead(a, ans, stamp) },
	}
}

func (s *Server) keepHead(a *ask, ans *answer, stamp uint64) error {
	return s.store.PutSliced(mem.Entry{
		Primary: a.primary, Variant: ans.variant, Vary: ans.vary,
		Status: http.StatusOK, Header: ans.shared, Policy: ans.policy, Tags: ans.slices.tags, Stamp: stamp,
	}, ans.length, ans.slices.name)
}

// sought asks for the slice that a's range begins in. It is not ok, and nothing is wrong, if the origin does not do that:
// then the whole is to be asked for.
func (s *Server) sought(ctx context.Context, a *ask, stamp uint64) (r flight.Result[*answer], ok bool, err error) {
	want := ranges.Range{Start: a.seek * sliceSize, Length: sliceSize}
	resp, ours, err := s.askUpstream(ctx, a, nil, want)
	if err != nil {
		return r, false, err
	}
	if resp.StatusCode != http.StatusPartialContent {
		if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			_ = resp.Body.Close() // the whole says how long it is
			return r, false, nil
		}
		return s.received(a, stamp, resp, ours), true, nil
	}
	got, length, whole := ranges.ParseContent(resp.Header.Get("Content-Range"))
	want.Length = min(want.Length, length-want.Start)
	if !whole || got != want || resp.ContentLength >= 0 && resp.ContentLength != got.Length {
		_ = resp.Body.Close() // not what was asked for
		return r, false, nil
	}
	// The header is that of the whole answer but for these (RFC 9110 §15.3.7).
	delete(resp.Header, "Content-Range")
	delete(resp.Header, "Content-Length")
	body := resp.Body
	resp.StatusCode, resp.ContentLength, resp.Body = http.StatusOK, length, http.NoBody
	r = s.received(a, stamp, resp, false)
	ans := r.Value
	switch {
	case !ans.storable || !s.usable(ans.policy, resp):
		_ = body.Close()
		return flight.Result[*answer]{}, false, errUnsliceable
	case ranges.Validator(ans.shared) == "":
		_ = body.Close()
		return flight.Result[*answer]{}, false, nil
	case ans.slices == nil:
		r = s.slicedResult(a, ans, stamp)
	}
	ans.slices.begun, ans.fwdStatus = a.seek, http.StatusPartialContent
	r.Body, r.Length = body, got.Length
	r.Keep = func(fill *mem.Fill) error {
		if err := s.keepSlice(ans.slices, a.seek, stamp, ours, fill); err != nil {
			return err
		}
		return s.keepHead(a, ans, stamp)
	}
	return r, true, nil
}

// keepSlice stores a slice that is ours to keep.
func (s *Server) keepSlice(sl *sliced, i int64, stamp uint64, ours bool, fill *mem.Fill) error {
	if !ours {
		return nil
	}
	return fill.Commit(mem.Entry{Primary: sl.key(i), Status: http.StatusPartialContent, Tags: sl.tags, Stamp: stamp})
}

// fetchSlice asks upstream for a slice.
func (s *Server) fetchSlice(a *ask, sl *sliced, i int64) flight.Fetch[*answer] {
	return func(ctx context.Context) (flight.Result[*answer], error) {
		stamp, want := s.o.Purges.Head(), sl.part(i)
		r := flight.Result[*answer]{Value: &answer{}, Shared: true, Length: want.Length}
		if r.View = s.storedSlice(a, sl, i); r.View.OK() {
			return r, nil
		}
		resp, ours, err := s.askUpstream(ctx, a, nil, want)
		if err != nil {
			return flight.Result[*answer]{}, err
		}
		if err := s.checkSlice(a, sl, want, resp); err != nil {
			_ = resp.Body.Close() // its content is not used
			return flight.Result[*answer]{}, err
		}
		r.Body = resp.Body
		r.Keep = func(fill *mem.Fill) error { return s.keepSlice(sl, i, stamp, ours, fill) }
		return r, nil
	}
}

// checkSlice compares an answer with what its head says. If it is of another state of the resource, the head is dropped.
func (s *Server) checkSlice(a *ask, sl *sliced, want ranges.Range, resp *upstream.Answer) error {
	if fresh.IsError(resp.StatusCode) {
		return &upstream.Error{Err: errors.New("ask for a slice: the origin has failed")}
	}
	got, length, ok := ranges.ParseContent(resp.Header.Get("Content-Range"))
	if resp.StatusCode == http.StatusPartialContent && ok && got == want && length == sl.length &&
		ranges.Validator(resp.Header) == sl.validator && (resp.ContentLength < 0 || resp.ContentLength == want.Length) {
		return nil
	}
	if resp.StatusCode == http.StatusOK {
		s.unsliced.Set(a.primary, s.o.Now().Add(hitForMiss))
	}
	if e, _ := s.store.Get(a.primary, a.selects); e.OK() {
		if name, ok := e.Slices(); ok && name == sl.name {
			s.store.RemoveEntry(e)
		}
		e.Release()
	}
	return errChanged
}

// storedSlice is a slice in the store, which must be released.
func (s *Server) storedSlice(a *ask, sl *sliced, i int64) mem.View {
	e, _ := s.store.Get(sl.key(i), nil)
	return s.unpurged(a.primary, e).View
}

// storedBody opens the body of a stored entry. Of one in slices, the first that r asks for is there or on its way: what
// the answer promises can be kept. leave must be called when the answer is done, even after an error.
func (s *Server) storedBody(r *http.Request, a *ask, e mem.View) (open opener, leave func(), err error) {
	header := e.Fields()
	if sl := s.slicesOf(a, e, header); sl != nil && !fresh.NotModified(r.Header, header) {
		return s.slicedBody(r, a, sl, nil)
	}
	return func(part ranges.Range) flight.Body { return spoiled(flight.Stored(e, part.Start, part.Length)) }, func() {}, nil
}

// flightBody is storedBody for what a flight has brought; open is nil if its body is not in slices.
func (s *Server) flightBody(r *http.Request, a *ask, ans *answer, seat *flight.Seat[*answer]) (open opener, leave func(), err error) {
	if ans.slices == nil {
		return nil, func() {}, nil
	}
	return s.slicedBody(r, a, ans.slices, seat)
}

// slicedBody opens a body in slices, of which begun may bring one.
func (s *Server) slicedBody(r *http.Request, a *ask, sl *sliced, begun *flight.Seat[*answer]) (open opener, leave func(), err error) {
	open = func(part ranges.Range) flight.Body {
		return &slicesBody{s: s, a: a, sl: sl, begun: begun, at: part.Start, end: part.End()}
	}
	first := int64(0)
	parts, partial := ranges.Parse(r.Header.Get("Range"), sl.length)
	if partial && len(parts) > 0 {
		first = parts[0].Start / sliceSize
	}
	if r.Method != http.MethodGet || partial && len(parts) == 0 || begun != nil && sl.begun > 0 && sl.begun == first {
		return open, func() {}, nil
	}
	if e := s.storedSlice(a, sl, first); e.OK() {
		return open, e.Release, nil
	}
	seat := s.flights.Join(sl.key(first), a.primary, s.o.Purges.Head(), s.fetchSlice(a, sl, first))
	select {
	case <-seat.Ready():
		_, _, err = seat.Result()
	case <-r.Context().Done():
		err = r.Context().Err()
	}
	return open, seat.Leave, err
}

// slicesBody is a part of a body in slices. While one slice is read the next is fetched, if it is asked for, too.
type slicesBody struct {
	s       *Server
	a       *ask
	sl      *sliced
	begun   *flight.Seat[*answer] // may bring one slice; nil if none
	at, end int64

	slice flight.Body           // the current one, nil between slices
	seat  *flight.Seat[*answer] // in its flight; nil if it is stored
}

// Next is flight.Body's.
func (b *slicesBody) Next(ctx context.Context) ([]byte, error) {
	if b.at >= b.end {
		return nil, io.EOF
	}
	if b.slice != nil && b.at%sliceSize == 0 {
		b.Close() // it has been read to its end
	}
	if b.slice == nil {
		if err := b.open(ctx); err != nil {
			return nil, err
		}
	}
	p, err := b.slice.Next(ctx)
	if err == io.EOF { //nolint:errorlint // the bare one alone ends a body
		return nil, errShort
	}
	b.at += int64(len(p))
	return p, err
}

// open opens the slice that the next byte is in.
func (b *slicesBody) open(ctx context.Context) error {
	i := b.at / sliceSize
	off, n := b.at%sliceSize, min(b.sl.part(i).End(), b.end)-b.at
	if next := i + 1; next*sliceSize < b.end {
		defer b.ahead(next)
	}
	if e := b.s.storedSlice(b.a, b.sl, i); e.OK() {
		b.slice = flight.Stored(e, off, n)
		e.Release()
		return nil
	}
	if b.begun != nil && b.sl.begun == i && i > 0 {
		b.slice = &seatBody{partBody{from: &passing{body: b.begun.Body()}, skip: off, left: n}}
		return nil
	}
	b.seat = b.s.flights.Join(b.sl.key(i), b.a.primary, b.s.o.Purges.Head(), b.s.fetchSlice(b.a, b.sl, i))
	select {
	case <-b.seat.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, _, err := b.seat.Result(); err != nil {
		return err
	}
	b.slice = &seatBody{partBody{from: &passing{body: b.seat.Body()}, skip: off, left: n}}
	return nil
}

// ahead fetches a slice before it is needed.
func (b *slicesBody) ahead(i int64) {
	if e := b.s.storedSlice(b.a, b.sl, i); e.OK() {
		e.Release()
		return
	}
	b.s.flights.Background(b.sl.key(i), b.a.primary, b.s.o.Purges.Head(), b.s.fetchSlice(b.a, b.sl, i))
}

// Live is flight.Body's.
func (b *slicesBody) Live() bool { return b.slice != nil && b.slice.Live() }

// Close is flight.Body's.
func (b *slicesBody) Close() {
	if b.slice != nil {
		b.slice.Close()
	}
	if b.seat != nil {
		b.seat.Leave()
	}
	b.slice, b.seat = nil, nil
}

// seatBody is a part of a flight's body, which it owns.
type seatBody struct{ partBody }

// Close is flight.Body's.
func (b *seatBody) Close() { b.from.body.Close() }
