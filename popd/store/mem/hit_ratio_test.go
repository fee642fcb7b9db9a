package mem

import (
	"container/list"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// trace is a stream of requests: Zipf over a catalogue, and a share of URLs that are asked for once.
type trace struct {
	alpha, once float64
}

var traces = []trace{{0.9, 0.2}, {1.0, 0.2}, {1.1, 0.2}, {0.9, 0.4}}

// requests makes n request for a catalogue of items.
func (tr trace) requests(items, n int) []uint64 {
	r := rand.New(rand.NewPCG(uint64(tr.alpha*10), uint64(tr.once*10)))
	sums := make([]float64, items)
	var sum float64
	for i := range sums {
		sum += 1 / math.Pow(float64(i+1), tr.alpha)
		sums[i] = sum
	}
	all := make([]uint64, n)
	for i := range all {
		if r.Float64() < tr.once {
			all[i] = uint64(items + i)
			continue
		}
		rank, _ := slices.BinarySearch(sums, r.Float64()*sum)
		all[i] = uint64(rank)
	}
	return all
}

// s3fifo is the algorithm of the paper for items of one size, written plainly (SOSP 2023, algorithm 1).
type s3fifo struct {
	size        int
	small, main list.List // front is the newest; values are keys
	ghost       list.List
	at          map[uint64]*s3item
	ghosts      map[uint64]*list.Element
}

type s3item struct {
	freq   int
	inMain bool
}

func (c *s3fifo) request(k uint64) (hit bool) {
	if it := c.at[k]; it != nil {
		it.freq = min(it.freq+1, 3)
		return true
	}
	for len(c.at) >= c.size {
		c.evict()
	}
	it := &s3item{}
	if g := c.ghosts[k]; g != nil {
		c.ghost.Remove(g)
		delete(c.ghosts, k)
		it.inMain = true
		c.main.PushFront(k)
	} else {
		c.small.PushFront(k)
	}
	c.at[k] = it
	return false
}

func (c *s3fifo) evict() {
	if c.small.Len() >= c.size/10 {
		for c.small.Len() > 0 {
			k := c.small.Remove(c.small.Back()).(uint64)
			it := c.at[k]
			if it.freq > 1 {
				it.freq, it.inMain = 0, true
				c.main.PushFront(k)
				continue
			}
			delete(c.at, k)
			c.ghosts[k] = c.ghost.PushFront(k)
			if c.ghost.Len() > c.size*9/10 {
				delete(c.ghosts, c.ghost.Remove(c.ghost.Back()).(uint64))
			}
			return
		}
	}
	for c.main.Len() > 0 {
		k := c.main.Remove(c.main.Back()).(uint64)
		it := c.at[k]
		if it.freq > 0 {
			it.freq--
			c.main.PushFront(k)
			continue
		}
		delete(c.at, k)
		return
	}
}

// lru is the cache that everybody knows.
type lru struct {
	size int
	list list.List
	at   map[uint64]*list.Element
}

func (c *lru) request(k uint64) (hit bool) {
	if e := c.at[k]; e != nil {
		c.list.MoveToFront(e)
		return true
	}
	if len(c.at) >= c.size {
		delete(c.at, c.list.Remove(c.list.Back()).(uint64))
	}
	c.at[k] = c.list.PushFront(k)
	return false
}

// hitRatios plays a trace to a Store with room for about the given number of objects, and then to the reference
// policies with room for as many as it held.
func hitRatios(tb testing.TB, tr trace, items, n, objects int) (ours, reference, old float64) {
	tb.Helper()
	requests := tr.requests(items, n)
	const body, slot = 1024, 1024 + 144
	s := New(Options{Limit: int64(objects*slot) * 103 / 100})
	hits, most := 0, int64(0)
	for _, k := range requests {
		e := entry(k, 0)
		e.Header = nil
		v, _ := s.Get(e.Primary, nil)
		if v.OK() {
			hits++
			v.Release()
			continue
		}
		if err := s.Put(e, make([]byte, body)); err != nil {
			tb.Fatal(err)
		}
		most = max(most, s.entries.Load())
	}
	ref := &s3fifo{size: int(most), at: map[uint64]*s3item{}, ghosts: map[uint64]*list.Element{}}
	lru := &lru{size: int(most), at: map[uint64]*list.Element{}}
	refHits, lruHits := 0, 0
	for _, k := range requests {
		if ref.request(k) {
			refHits++
		}
		if lru.request(k) {
			lruHits++
		}
	}
	of := func(hits int) float64 { return 100 * float64(hits) / float64(n) }
	return of(hits), of(refHits), of(lruHits)
}

func TestHitRatioIsThatOfS3FIFO(t *testing.T) {
	for _, tr := range traces[:3] {
		ours, reference, lru := hitRatios(t, tr, 200_000, 400_000, 2000)
		t.Logf("Zipf %.1f, %.0f %% asked for once: %.2f %%; S3-FIFO %.2f, LRU %.2f", tr.alpha, 100*tr.once, ours, reference, lru)
		if ours < reference || ours < lru+5 {
			t.Errorf("Zipf %.1f: %.2f %% hits, S3-FIFO %.2f, LRU %.2f", tr.alpha, ours, reference, lru)
		}
	}
}

// BenchmarkHitRatio reports the ratios at full size: a million items, four million requests, room for one in a hundred.
func BenchmarkHitRatio(b *testing.B) {
	for _, tr := range traces {
		b.Run(fmt.Sprintf("zipf=%.1f/once=%.1f", tr.alpha, tr.once), func(b *testing.B) {
			for b.Loop() {
				ours, reference, lru := hitRatios(b, tr, 1_000_000, 4_000_000, 10_000)
				b.ReportMetric(ours, "%hits")
				b.ReportMetric(reference, "%s3fifo")
				b.ReportMetric(lru, "%lru")
			}
		})
	}
}
