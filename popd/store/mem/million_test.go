//go:build linux && !race

package mem

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/purge"
)

// page1KiB is an answer as origins give it: a header block of 200 bytes.
func page1KiB(i uint64) Entry {
	e := Entry{Status: 200, Policy: fresh.Policy{Born: 1, Lifetime: time.Minute}, Stamp: 1, Header: http.Header{
		"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"public, max-age=60"},
		"Date": {"Mon, 30 Nov 2026 12:00:00 GMT"}, "Etag": {fmt.Sprintf(`"%010x"`, i)},
		"Last-Modified": {"Mon, 30 Nov 2026 11:00:00 GMT"},
	}}
	binary.BigEndian.PutUint64(e.Primary[:], i*0x9e3779b97f4a7c15)
	return e
}

// resident is the process's resident memory in bytes.
func resident(tb testing.TB) int64 {
	tb.Helper()
	var size, pages int64
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Skip("no /proc/self/statm here")
	}
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		tb.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// pauses is the histogram of the collector's pauses so far.
func pauses() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64Histogram()
}

// p99 is the upper bound of the 99th percentile of what came between two readings, in seconds.
func p99(before, after *metrics.Float64Histogram) float64 {
	var n, seen uint64
	for i := range after.Counts {
		n += after.Counts[i] - before.Counts[i]
	}
	for i := range after.Counts {
		if seen += after.Counts[i] - before.Counts[i]; float64(seen) >= 0.99*float64(n) {
			return after.Buckets[i+1]
		}
	}
	return math.NaN()
}

// BenchmarkMillionObjects reports what an object of 1 KiB takes of the process's memory, in a store that has been full
// for a million objects more, and how long the collector stops the world at that fill and in an empty store, while objects are looked up.
func BenchmarkMillionObjects(b *testing.B) {
	const objects = 1_000_000
	for b.Loop() {
		idle := pauseAt(New(Options{}), 1) * 1e6
		debug.FreeOSMemory()
		before := resident(b)
		s := New(Options{Limit: objects * 1330})
		payload := make([]byte, 1024)
		for i := range uint64(2 * objects) {
			if err := s.Put(page1KiB(i), payload); err != nil {
				b.Fatal(err)
			}
		}
		debug.FreeOSMemory()
		st := s.Stats()
		b.ReportMetric(float64(st.Entries), "objects")
		b.ReportMetric(float64(resident(b)-before)/float64(st.Entries), "B/object")
		b.ReportMetric(float64(st.Bytes)/float64(st.Entries), "B/object-counted")
		v, _ := s.Get(page1KiB(2*objects-1).Primary, nil)
		b.ReportMetric(float64(len(v.Header())), "B/header")
		v.Release()
		b.ReportMetric(pauseAt(s, 2*objects)*1e6, "gc-p99-µs")
		b.ReportMetric(idle, "gc-p99-empty-µs")
	}
}

// pauseAt measures the pauses of a hundred collections among look-ups.
func pauseAt(s *Store, urls uint64) float64 {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(1, 1))
		for {
			select {
			case <-stop:
				return
			default:
			}
			v, _ := s.Get(page1KiB(r.Uint64N(urls)).Primary, nil)
			v.Release()
		}
	}()
	before := pauses()
	for range 100 {
		runtime.GC()
	}
	after := pauses()
	close(stop)
	<-done
	return p99(before, after)
}

// TestLimitHoldsForTheProcess: under a fill of random sizes, updates and readers that hold on to what they have, the
// process's memory grows by no more than the limit and a tenth.
func TestLimitHoldsForTheProcess(t *testing.T) {
	const limit = 64 << 20
	runtime.GC()
	before := resident(t)
	s := New(Options{Limit: limit})
	r := rand.New(rand.NewPCG(7, 7))
	payload := body(1, 4<<20)
	var pinned []View
	most := int64(0)
	for i := range uint64(6000) {
		e := page1KiB(i)
		e.Tags = make([]purge.Tag, r.IntN(20))
		size := int(math.Exp(r.Float64() * math.Log(float64(len(payload)))))
		_ = s.Put(e, payload[:size]) // a store full of what is being read refuses
		if v, _ := s.Get(page1KiB(r.Uint64N(i+1)).Primary, nil); v.OK() {
			switch r.IntN(3) {
			case 0:
				s.Update(v, page1KiB(1))
				v.Release()
			case 1:
				v.Release()
			default:
				pinned = append(pinned, v)
			}
		}
		if len(pinned) > 50 {
			pinned[0].Release()
			pinned = pinned[1:]
		}
		if i%500 == 0 {
			runtime.GC()
			most = max(most, resident(t)-before)
		}
	}
	for _, v := range pinned {
		v.Release()
	}
	if most > limit*11/10 {
		t.Errorf("the process grew by %d bytes, the limit is %d", most, limit)
	}
	if st := s.Stats(); st.Entries < 100 || st.Bytes < limit*8/10 {
		t.Errorf("after the fill %+v", st)
	}
	checkEmpty(t, s)
}
