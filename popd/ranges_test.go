package popd_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/catchment-net/catchment/popd"
)

const mib = 1 << 20

// bigBody is a body of any length whose bytes follow from their position.
type bigBody struct{ at, length int64 }

func (b *bigBody) Read(p []byte) (int, error) {
	n := int(min(int64(len(p)), b.length-b.at))
	if n == 0 {
		return 0, io.EOF
	}
	for i := range n {
		p[i] = byteAt(b.at + int64(i))
	}
	b.at += int64(n)
	return n, nil
}

func (b *bigBody) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += b.at
	case io.SeekEnd:
		off += b.length
	}
	b.at = off
	return off, nil
}

func byteAt(at int64) byte { return byte(at*31 + at>>10 + at>>20) }

func bytesAt(from, length int64) string {
	b, err := io.ReadAll(io.LimitReader(&bigBody{at: from, length: from + length}, length))
	if err != nil {
		panic(err) // it does not fail
	}
	return string(b)
}

// rangeOrigin answers with a body of length bytes, in ranges if asked to, and notes which ranges that were.
type rangeOrigin struct {
	length int64
	etag   atomic.Pointer[string]
	mu     sync.Mutex // guards the following
	asked  []string
}

func newRangeOrigin(length int64) *rangeOrigin {
	o := &rangeOrigin{length: length}
	o.setTag(`"one"`)
	return o
}

func (o *rangeOrigin) setTag(tag string) { o.etag.Store(&tag) }

func (o *rangeOrigin) serve(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked = append(o.asked, r.Header.Get("Range"))
	o.mu.Unlock()
	w.Header().Set("Cache-Control", "max-age=60")
	w.Header().Set("Etag", *o.etag.Load())
	w.Header().Set("Content-Type", "video/x")
	http.ServeContent(w, r, "", time.Time{}, &bigBody{length: o.length})
}

// wantRanges checks which ranges the origin was asked for since the last time.
func (o *rangeOrigin) wantRanges(t *testing.T, want ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if fmt.Sprint(o.asked) != fmt.Sprint(want) {
		t.Errorf("the origin was asked for %q, want %q", o.asked, want)
	}
	o.asked = nil
}

func (o *rangeOrigin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asked)
}

// small makes answers of more than n bytes come in slices.
func small(n int64) func(*popd.Options) {
	return func(o *popd.Options) { o.Memory, o.MaxObject = 64*mib, n }
}

func TestRangesFromAStoredAnswer(t *testing.T) {
	w := newWorld(t, answer("0123456789", "Cache-Control: max-age=60", `Etag: "v"`, "Content-Type: text/x"))
	w.shield()
	w.get("/")
	for _, tt := range []struct {
		lines  []string
		status int
		body   string
		part   string
	}{
		{[]string{"Range: bytes=2-4"}, 206, "234", "bytes 2-4/10"},
		{[]string{"Range: bytes=-3"}, 206, "789", "bytes 7-9/10"},
		{[]string{"Range: bytes=8-100"}, 206, "89", "bytes 8-9/10"},
		{[]string{"Range: bytes=0-1,2-3"}, 206, "0123", "bytes 0-3/10"},
		{[]string{"Range: bytes=10-"}, 416, "", "bytes */10"},
		{[]string{"Range: bytes=3-2"}, 200, "0123456789", ""},
		{[]string{"Range: lines=1-2"}, 200, "0123456789", ""},
		{[]string{"Range: bytes=0-9,0-9"}, 200, "0123456789", ""},
		{[]string{"Range: bytes=1-2", "Range: bytes=3-4"}, 200, "0123456789", ""},
		{[]string{"Range: bytes=2-4", `If-Range: "v"`}, 206, "234", "bytes 2-4/10"},
		{[]string{"Range: bytes=2-4", `If-Range: "w"`}, 200, "0123456789", ""},
		{[]string{"Range: bytes=2-4", `If-Range: W/"v"`}, 200, "0123456789", ""},
		{[]string{"Range: bytes=2-4", `If-None-Match: "v"`}, 304, "", ""},
	} {
		r := w.get("/", tt.lines...)
		if r.status != tt.status || r.body != tt.body || r.header.Get("Content-Range") != tt.part {
			t.Errorf("%q: %d %q, Content-Range %q; want %d %q, %q", tt.lines, r.status, r.body, r.header.Get("Content-Range"), tt.status, tt.body, tt.part)
		}
	}
	if r, err := w.do("HEAD", web, "/", "Range: bytes=2-4"); err != nil || r.status != 200 || r.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: %+v, %v; ranges are for GET alone", r, err)
	}
	w.wantAsked(1)
}

func TestSeveralRangesComeAsMultipart(t *testing.T) {
	w := newWorld(t, answer("0123456789", "Cache-Control: max-age=60", "Content-Type: text/x"))
	w.shield()
	for range 2 { // from the flight, then from the store
		r := w.get("/", "Range: bytes=1-2,5-6,9-")
		kind, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
		if r.status != 206 || err != nil || kind != "multipart/byteranges" || r.header.Get("Content-Range") != "" || r.err != nil {
			t.Fatalf("%d, %v, %v", r.status, r.header, r.err)
		}
		reader := multipart.NewReader(strings.NewReader(r.body), params["boundary"])
		for _, want := range []string{"text/x bytes 1-2/10 12", "text/x bytes 5-6/10 56", "text/x bytes 9-9/10 9"} {
			p, err := reader.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(p)
			if got := p.Header.Get("Content-Type") + " " + p.Header.Get("Content-Range") + " " + string(b); got != want || err != nil {
				t.Errorf("part %q, %v; want %q", got, err, want)
			}
		}
	}
	w.wantAsked(1)
}

// TestRangeWhileTheBodyArrives: a part is served as soon as its bytes are there, and the whole is stored although its
// asker wanted no more.
func TestRangeWhileTheBodyArrives(t *testing.T) {
	rest := make(chan struct{})
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		rw.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(rw, "01234")
		_ = http.NewResponseController(rw).Flush()
		<-rest
		_, _ = io.WriteString(rw, "56789")
	})
	w.shield()
	if r := w.get("/", "Range: bytes=1-3"); r.status != 206 || r.body != "123" {
		t.Errorf("while it arrives: %d %q", r.status, r.body)
	}
	close(rest)
	eventually(t, "the whole is stored", func() bool { return strings.Contains(w.get("/", "Range: bytes=8-").last(), "; hit") })
	w.wantAsked(1)
}

func TestPartialContentIsNeverStoredAsWhole(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		rw.Header().Set("Content-Range", "bytes 0-4/10")
		rw.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(rw, "01234")
	})
	w.shield()
	for range 2 {
		if r := w.get("/"); r.status != 206 || strings.Contains(r.last(), "stored") || strings.Contains(r.last(), "; hit") {
			t.Errorf("%d, %q", r.status, r.last())
		}
	}
	w.wantAsked(2)
}

// TestSeekFetchesOnlyTheSlicesItNeeds: five GiB, of which two MiB pass.
func TestSeekFetchesOnlyTheSlicesItNeeds(t *testing.T) {
	const size = 5 << 30
	o := newRangeOrigin(size)
	w := newWorld(t, o.serve)
	w.node("ams1", small(4*mib))
	const from = 3<<30 + 12345
	r := w.get("/film", fmt.Sprintf("Range: bytes=%d-%d", from, from+99))
	if r.status != 206 || r.body != bytesAt(from, 100) || r.header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", from, from+99, int64(size)) {
		t.Fatalf("%d, %q, %d bytes", r.status, r.header.Get("Content-Range"), len(r.body))
	}
	o.wantRanges(t, "bytes=3221225472-3222274047")
	// The same slice again costs nothing, be it stored or still arriving, and a range into the next one fetches that.
	if r = w.get("/film", fmt.Sprintf("Range: bytes=%d-%d", from+100, from+199)); r.body != bytesAt(from+100, 100) || strings.Contains(r.last(), "fwd-status=200") {
		t.Errorf("again: %d bytes, %q", len(r.body), r.last())
	}
	o.wantRanges(t)
	const end = 3<<30 + mib - 10
	if r = w.get("/film", fmt.Sprintf("Range: bytes=%d-%d", end, end+19)); r.body != bytesAt(end, 20) {
		t.Errorf("over the border: %d bytes", len(r.body))
	}
	o.wantRanges(t, "bytes=3222274048-3223322623")
	if r = w.get("/film", "Range: bytes=-50"); r.body != bytesAt(size-50, 50) {
		t.Errorf("its last bytes: %d", len(r.body))
	}
	o.wantRanges(t, "bytes=5367660544-5368709119")
	if head, err := w.do("HEAD", web, "/film"); err != nil || head.header.Get("Content-Length") != fmt.Sprint(int64(size)) || !strings.Contains(head.last(), "; hit") {
		t.Errorf("HEAD: %v, %v", head, err)
	}
	if r = w.get("/film", fmt.Sprintf("Range: bytes=%d-", int64(size))); r.status != 416 || r.header.Get("Content-Range") != fmt.Sprintf("bytes */%d", int64(size)) {
		t.Errorf("behind its end: %d, %q", r.status, r.header.Get("Content-Range"))
	}
	o.wantRanges(t)
}

// TestRangesAreTheSameFromWholeAndSlices: whatever part is asked for, it comes with the same bytes.
func TestRangesAreTheSameFromWholeAndSlices(t *testing.T) {
	const size = 3*mib + 777
	o := newRangeOrigin(size)
	w := newWorld(t, o.serve)
	w.node("ams1", small(2*mib))
	w.node("fra1", small(8*mib))
	rnd := rand.New(rand.NewPCG(5, 5))
	for range 40 {
		from := rnd.Int64N(size)
		part := fmt.Sprintf("Range: bytes=%d-%d", from, from+rnd.Int64N(size))
		switch rnd.IntN(8) {
		case 0:
			part = fmt.Sprintf("Range: bytes=-%d", from+1)
			from = size - from - 1
		case 1:
			part, from = "X: ", 0
		}
		var got [2]reply
		for i, node := range []string{ams, "203.0.113.17:80"} {
			r, err := w.do("GET", node, "/film", part)
			if err != nil || r.err != nil {
				t.Fatalf("%s from %s: %v, %v", part, node, err, r.err)
			}
			got[i] = r
		}
		if got[0].body != got[1].body || got[0].status != got[1].status || got[0].body != bytesAt(from, int64(len(got[0].body))) {
			t.Fatalf("%s: %d with %d bytes from slices, %d with %d from the whole", part, got[0].status, len(got[0].body), got[1].status, len(got[1].body))
		}
	}
	if n := o.count(); n > 4+1+3 { // its slices once each for one node; the whole, its slices' head and seeks besides
		t.Errorf("the origin was asked %d times", n)
	}
}

// TestChangedResourceStartsAnew: slices of two states are never mixed; who asks next gets the new state whole.
func TestChangedResourceStartsAnew(t *testing.T) {
	const size = 4 * mib
	o := newRangeOrigin(size)
	w := newWorld(t, o.serve)
	w.node("ams1", small(2*mib))
	w.get("/film", "Range: bytes=0-9")
	if r := w.get("/film", "Range: bytes=2097152-2097161"); r.body != bytesAt(2*mib, 10) || r.header.Get("Etag") != `"one"` {
		t.Fatalf("%q, %d bytes", r.header.Get("Etag"), len(r.body))
	}
	o.setTag(`"two"`)
	for _, from := range []int64{3 * mib, 2 * mib, 0} {
		r := w.get("/film", fmt.Sprintf("Range: bytes=%d-%d", from, from+9))
		if r.status != 206 || r.header.Get("Etag") != `"two"` || r.body != bytesAt(from, 10) {
			t.Errorf("at %d: %d, %q, %d bytes", from, r.status, r.header.Get("Etag"), len(r.body))
		}
	}
	if r := w.get("/film"); r.body != bytesAt(0, size) || r.err != nil {
		t.Errorf("the whole: %d bytes, %v", len(r.body), r.err)
	}
}

// TestInvalidationDropsSlices: after a POST nothing of what was stored is served, though its validator comes back.
func TestInvalidationDropsSlices(t *testing.T) {
	o := newRangeOrigin(4 * mib)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			return
		}
		o.serve(rw, r)
	})
	w.node("ams1", small(2*mib))
	w.get("/film", "Range: bytes=1048576-1048577")
	o.wantRanges(t, "bytes=1048576-2097151")
	if _, err := w.do("POST", web, "/film", "Content-Length: 0"); err != nil {
		t.Fatal(err)
	}
	w.get("/film", "Range: bytes=1048576-1048577")
	o.wantRanges(t, "bytes=1048576-2097151")
}

// TestOriginThatIgnoresRanges: the whole comes by, once, and is stored if it fits.
func TestOriginThatIgnoresRanges(t *testing.T) {
	const size = 3 * mib
	for _, tt := range []struct {
		fits bool
		max  int64
	}{{true, 8 * mib}, {false, 2 * mib}} {
		body := []byte(bytesAt(0, size))
		w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=60")
			rw.Header().Set("Etag", `"v"`)
			rw.Header().Set("Accept-Ranges", "bytes") // it lies
			rw.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = io.Copy(rw, bytes.NewReader(body))
		})
		w.node("ams1", small(tt.max))
		for i := range 3 {
			r := w.get("/film", "Range: bytes=2097152-2097161")
			if got := r.body; r.status == 206 && got != bytesAt(2*mib, 10) || r.status == 200 && got != string(body) || r.err != nil {
				t.Errorf("fits %v, request %d: %d with %d bytes, %v", tt.fits, i, r.status, len(got), r.err)
			}
			if r.status != 200 && r.status != 206 {
				t.Errorf("fits %v, request %d: status %d", tt.fits, i, r.status)
			}
		}
		if tt.fits {
			eventually(t, "it is stored", func() bool { return strings.Contains(w.get("/film").last(), "; hit") })
			w.wantAsked(1)
		}
	}
}

// TestBrokenSliceIsNotStored: its client is cut off, and the next one gets the bytes.
func TestBrokenSliceIsNotStored(t *testing.T) {
	o := newRangeOrigin(4 * mib)
	var broken atomic.Bool
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if broken.CompareAndSwap(true, false) {
			rw.Header().Set("Etag", `"one"`)
			rw.Header().Set("Content-Range", "bytes 2097152-3145727/4194304")
			rw.Header().Set("Content-Length", fmt.Sprint(mib))
			rw.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(rw, bytesAt(2*mib, mib/2))
			panic(http.ErrAbortHandler)
		}
		o.serve(rw, r)
	})
	w.node("ams1", small(2*mib))
	w.get("/film", "Range: bytes=1048576-1048577")
	broken.Store(true)
	if r := w.get("/film", "Range: bytes=2097152-3145727"); r.err == nil {
		t.Errorf("a broken slice looks whole: %d bytes", len(r.body))
	}
	if r := w.get("/film", "Range: bytes=2097152-3145727"); r.err != nil || r.body != bytesAt(2*mib, mib) {
		t.Errorf("after that: %d bytes, %v", len(r.body), r.err)
	}
}

// TestSlicesThroughTheTiers: edge and shield fetch the same slices and no more, and a purge ends them at both.
func TestSlicesThroughTheTiers(t *testing.T) {
	const size = 4 * mib
	o := newRangeOrigin(size)
	w := newWorld(t, o.serve)
	shield := w.node("ams1", small(2*mib))
	edge := w.node("nyc1", small(2*mib))
	seek := func() {
		t.Helper()
		r, err := w.do("GET", nyc, "/film", "Range: bytes=3145738-3145747")
		if err != nil || r.status != 206 || r.body != bytesAt(3*mib+10, 10) {
			t.Fatalf("%d, %d bytes, %v, %v", r.status, len(r.body), r.err, err)
		}
	}
	seek()
	seek()
	o.wantRanges(t, "bytes=3145728-4194303")
	for range 2 {
		if r, err := w.do("GET", nyc, "/film"); err != nil || r.err != nil || r.body != bytesAt(0, size) {
			t.Fatalf("the whole: %d bytes, %v, %v", len(r.body), r.err, err)
		}
	}
	o.wantRanges(t, "bytes=0-1048575", "bytes=1048576-2097151", "bytes=2097152-3145727")
	for _, s := range []*popd.Server{shield, edge} {
		if _, err := s.Purge(popd.PurgeRequest{URL: "http://www.shop.example/film"}); err != nil {
			t.Fatal(err)
		}
	}
	seek()
	o.wantRanges(t, "bytes=3145728-4194303")
}

// TestStaleHeadIsValidatedAndItsSlicesStay: a 304 for the whole makes all its slices fresh.
func TestStaleHeadIsValidatedAndItsSlicesStay(t *testing.T) {
	o := newRangeOrigin(4 * mib)
	w := newWorld(t, o.serve)
	w.node("ams1", small(2*mib))
	get := func() reply { return w.get("/film", "Range: bytes=2097152-3145727") }
	get()
	o.wantRanges(t, "bytes=2097152-3145727")
	eventually(t, "it is stored", func() bool { return strings.Contains(get().last(), "; hit") })
	w.clock.forward(61 * time.Second)
	if r := get(); r.status != 206 || r.body != bytesAt(2*mib, mib) || !strings.Contains(r.last(), "fwd=stale; fwd-status=304") {
		t.Errorf("%d, %d bytes, %q", r.status, len(r.body), r.last())
	}
	if r := get(); !strings.Contains(r.last(), "; hit") {
		t.Errorf("after the validation %q", r.last())
	}
	o.wantRanges(t, "")
}
