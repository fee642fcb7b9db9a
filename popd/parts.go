package popd

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/ranges"
)

// opener opens a part of an answer's body, which must be closed.
type opener func(ranges.Range) flight.Body

// partsOf are the parts that a GET asks for of an answer with header stored. It is not partial if the whole is to be sent;
// without parts it cannot be satisfied.
func partsOf(r *http.Request, stored http.Header, o outcome) (parts []ranges.Range, partial bool) {
	lines := r.Header["Range"]
	if len(lines) != 1 || r.Method != http.MethodGet || o.status != http.StatusOK || !o.conditional || o.open == nil || o.length < 0 {
		return nil, false
	}
	parts, ok := ranges.Parse(lines[0], o.length)
	if !ok || !ranges.Applies(r.Header, stored) || !o.random && !ranges.Ascending(parts) {
		return nil, false
	}
	return parts, true
}

// writeParts sends a 206, or a 416 if there are no parts (RFC 9110 §15.3.7, §15.5.17). The header of the whole answer is
// in w already.
func (s *Server) writeParts(w http.ResponseWriter, r *http.Request, parts []ranges.Range, o outcome) {
	h := w.Header()
	switch len(parts) {
	case 0:
		for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Language", "Etag", "Last-Modified", "Cache-Control", "Expires"} {
			delete(h, name)
		}
		h["Content-Type"] = nil
		h["Content-Range"] = []string{ranges.Unsatisfied(o.length)}
		h["Content-Length"] = []string{"0"}
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	case 1:
		h["Content-Range"] = []string{parts[0].ContentRange(o.length)}
		h["Content-Length"] = []string{strconv.FormatInt(parts[0].Length, 10)}
		w.WriteHeader(http.StatusPartialContent)
		s.writePart(w, r, o.open, parts[0])
	default:
		m := ranges.Multipart{Ranges: parts, Length: o.length, Type: h.Get("Content-Type"), Boundary: rand.Text()}
		h["Content-Type"] = []string{m.ContentType()}
		h["Content-Length"] = []string{strconv.FormatInt(m.Size(), 10)}
		w.WriteHeader(http.StatusPartialContent)
		for i, part := range parts {
			// A client who has gone is found out by the next write of a body.
			_, _ = io.WriteString(w, m.Before(i))
			s.writePart(w, r, o.open, part)
		}
		_, _ = io.WriteString(w, m.After())
	}
}

func (s *Server) writePart(w http.ResponseWriter, r *http.Request, open opener, part ranges.Range) {
	body := open(part)
	defer body.Close()
	s.writeBody(w, r, body)
}

// onePass opens parts of a body that comes by once, in their order.
func onePass(body flight.Body) opener {
	p := &passing{body: body}
	return func(r ranges.Range) flight.Body { return &partBody{from: p, skip: r.Start - p.at, left: r.Length} }
}

// passing is a body that comes by once.
type passing struct {
	body flight.Body
	at   int64  // position of rest
	rest []byte // read, but not part of what was asked for so far
}

// errShort ends a part of a body that ends before it.
var errShort = errors.New("read a part of a body: the body is too short")

// next returns at most n bytes.
func (p *passing) next(ctx context.Context, n int64) ([]byte, error) {
	if len(p.rest) == 0 {
		b, err := p.body.Next(ctx)
		if err == io.EOF { //nolint:errorlint // the bare one alone ends a body
			return nil, errShort
		}
		if err != nil {
			return nil, err
		}
		p.rest = b
	}
	b := p.rest[:min(int64(len(p.rest)), n)]
	p.rest = p.rest[len(b):]
	p.at += int64(len(b))
	return b, nil
}

// partBody is a part of a passing body.
type partBody struct {
	from       *passing
	skip, left int64
}

// Next is flight.Body's.
func (b *partBody) Next(ctx context.Context) ([]byte, error) {
	for b.skip > 0 {
		p, err := b.from.next(ctx, b.skip)
		if err != nil {
			return nil, err
		}
		b.skip -= int64(len(p))
	}
	if b.left == 0 {
		return nil, io.EOF
	}
	p, err := b.from.next(ctx, b.left)
	b.left -= int64(len(p))
	return p, err
}

// Live is flight.Body's.
func (b *partBody) Live() bool { return b.from.body.Live() }

// Close is flight.Body's. The passing body is closed by its owner.
func (b *partBody) Close() {}
