package ranges

import (
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		field string
		want  []Range
		ok    bool
	}{
		{"bytes=0-0", []Range{{0, 1}}, true},
		{"bytes=0-", []Range{{0, 100}}, true},
		{"bytes=10-19", []Range{{10, 10}}, true},
		{"bytes=90-1000", []Range{{90, 10}}, true},
		{"bytes=-10", []Range{{90, 10}}, true},
		{"bytes=-1000", []Range{{0, 100}}, true},
		{"BYTES=1-2", []Range{{1, 2}}, true},
		{"bytes= 1-2 ,, 5-6", []Range{{1, 2}, {5, 2}}, true},
		{"bytes=5-6,1-2", []Range{{5, 2}, {1, 2}}, true},
		{"bytes=0-9,5-14", []Range{{0, 15}}, true},
		{"bytes=0-9,10-14", []Range{{0, 15}}, true},
		{"bytes=0-4,20-24,5-19", []Range{{0, 25}}, true},
		{"bytes=0-4,200-300", []Range{{0, 5}}, true},
		{"bytes=100-", nil, true},
		{"bytes=-0", nil, true},
		{"bytes=99999999999999999999-", nil, true},
		{"bytes=0-99999999999999999999", []Range{{0, 100}}, true},
		{"bytes=0-99,0-99", nil, false}, // more than there is
		{"bytes=2-1", nil, false},
		{"bytes=-", nil, false},
		{"bytes=a-1", nil, false},
		{"bytes=1-b", nil, false},
		{"bytes=+1-2", nil, false},
		{"bytes=1- 2", nil, false},
		{"bytes=", nil, false},
		{"bytes", nil, false},
		{"items=1-2", nil, false},
		{"bytes=" + strings.Repeat("0-0,", MaxRanges) + "0-0", nil, false},
	} {
		if got, ok := Parse(tt.field, 100); ok != tt.ok || ok && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %v, %v; want %v, %v", tt.field, got, ok, tt.want, tt.ok)
		}
	}
	if got, ok := Parse("bytes=0-", 0); !ok || got != nil {
		t.Errorf("an empty body: %v, %v; want none of it", got, ok)
	}
}

func TestParseContent(t *testing.T) {
	for field, want := range map[string]Range{
		"bytes 0-9/100": {0, 10}, "bytes 99-99/100": {99, 1}, "bytes 0-9/*": {}, "bytes */100": {}, "bytes 5-4/100": {},
		"bytes 0-100/100": {}, "items 0-9/100": {}, "bytes 0-9": {}, "": {}, "bytes 0-/9": {},
	} {
		got, length, ok := ParseContent(field)
		if got != want || ok != (want.Length > 0) || ok && length != 100 {
			t.Errorf("%q: %v of %d, %v; want %v", field, got, length, ok, want)
		}
	}
}

func TestIfRangeComparesStrongly(t *testing.T) {
	const old, now = "Mon, 30 Nov 2026 11:00:00 GMT", "Mon, 30 Nov 2026 12:00:00 GMT"
	for _, tt := range []struct {
		line, etag, modified string
		want                 bool
	}{
		{`"a"`, `"a"`, "", true},
		{`"a"`, `"b"`, "", false},
		{`W/"a"`, `W/"a"`, "", false},
		{`"a"`, `W/"a"`, "", false},
		{`"a"`, "", old, false},
		{old, `"a"`, old, true},
		{old, "", now, false},
		{now, "", now, false}, // changed within the minute: weak
		{"", "", "", false},
	} {
		stored := http.Header{"Etag": {tt.etag}, "Last-Modified": {tt.modified}, "Date": {now}}
		if got := Applies(http.Header{"If-Range": {tt.line}}, stored); got != tt.want {
			t.Errorf("If-Range %q for %q, %q: %v, want %v", tt.line, tt.etag, tt.modified, got, tt.want)
		}
	}
	if !Applies(http.Header{}, http.Header{}) || Applies(http.Header{"If-Range": {`"a"`, `"a"`}}, http.Header{"Etag": {`"a"`}}) {
		t.Error("without If-Range ranges apply, with two they do not")
	}
}

// TestMultipartIsReadByOthers: the standard library finds the parts, and the size is what was announced.
func TestMultipartIsReadByOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.StringN(1, 300, -1).Draw(t, "body")
		m := Multipart{Length: int64(len(body)), Type: "text/x", Boundary: "0123456789abcdef"}
		for range rapid.IntRange(1, 5).Draw(t, "parts") {
			start := rapid.Int64Range(0, m.Length-1).Draw(t, "start")
			m.Ranges = append(m.Ranges, Range{start, rapid.Int64Range(1, m.Length-start).Draw(t, "length")})
		}
		var b strings.Builder
		for i, r := range m.Ranges {
			b.WriteString(m.Before(i) + body[r.Start:r.End()])
		}
		b.WriteString(m.After())
		if int64(b.Len()) != m.Size() {
			t.Fatalf("%d bytes, announced %d", b.Len(), m.Size())
		}
		_, params, err := mime.ParseMediaType(m.ContentType())
		if err != nil {
			t.Fatal(err)
		}
		reader := multipart.NewReader(strings.NewReader(b.String()), params["boundary"])
		for _, r := range m.Ranges {
			p, err := reader.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(p)
			if err != nil || string(got) != body[r.Start:r.End()] || p.Header.Get("Content-Range") != r.ContentRange(m.Length) {
				t.Fatalf("part %v: %q, %v, %v", r, got, p.Header, err)
			}
		}
		if _, err := reader.NextPart(); err != io.EOF {
			t.Fatalf("after the last part: %v", err)
		}
	})
}

// FuzzParse: whatever a client sends, ranges lie within the body, do not overlap, and are no more than the body.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5,0-3", "bytes=5-,1-2,9-9", "bytes=,", "bytes=99999999999999999999-1", "x=1-2"} {
		f.Add(s, int64(100))
	}
	f.Add("bytes=0-", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, field string, length int64) {
		if length < 0 {
			return
		}
		all, ok := Parse(field, length)
		if !ok && all != nil || len(all) > MaxRanges {
			t.Fatalf("%v, %v", all, ok)
		}
		var sum int64
		for i, r := range all {
			sum += r.Length
			if r.Start < 0 || r.Length <= 0 || r.End() > length || r.End() < r.Start {
				t.Fatalf("%v is not within %d bytes", r, length)
			}
			for _, o := range all[:i] {
				if r.Start <= o.End() && o.Start <= r.End() {
					t.Fatalf("%v and %v touch", o, r)
				}
			}
			if got, n, ok := ParseContent(r.ContentRange(length)); !ok || got != r || n != length {
				if length != math.MaxInt64 { // too large a number counts as the largest but one
					t.Fatalf("%v of %d is read back as %v of %d, %v", r, length, got, n, ok)
				}
			}
		}
		if sum > length {
			t.Fatalf("%d bytes of %d", sum, length)
		}
	})
}
