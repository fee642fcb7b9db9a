package mem

import (
	"encoding/binary"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/popd/key"
)

// entry makes an entry with a body of n bytes; variant 0 is the URL's only one.
func entry(url, variant byte, n int) *Entry {
	return &Entry{Primary: key.Key{url}, Variant: key.Key{url, variant}, Body: [][]byte{make([]byte, n)}, Length: int64(n)}
}

func all(*Entry) bool { return true }

func TestVariantsOfOneURL(t *testing.T) {
	s := New(Options{Limit: 1 << 20})
	for v := range byte(key.MaxVariants + 8) {
		s.Put(entry(1, v, 10))
	}
	if n := s.Stats().Entries; n != key.MaxVariants {
		t.Errorf("%d variants are kept, want %d", n, key.MaxVariants)
	}
	if e, other := s.Get(key.Key{1}, func(e *Entry) bool { return e.Variant == key.Key{1, 0} }); e != nil || other == nil {
		t.Errorf("the oldest variant: %v, another: %v", e, other)
	}
	s.Put(entry(1, 20, 99))
	if e, _ := s.Get(key.Key{1}, func(e *Entry) bool { return e.Variant == key.Key{1, 20} }); e == nil || e.Length != 99 {
		t.Errorf("a variant is not replaced: %+v", e)
	}
	if n := s.Remove(key.Key{1}); n != key.MaxVariants || s.Stats() != (Stats{}) {
		t.Errorf("removed %d, left %+v", n, s.Stats())
	}
}

func TestUsedEntriesOutliveOneHitWonders(t *testing.T) {
	s := New(Options{Limit: 10 * (overhead + 100)})
	hot := entry(16, 0, 100) // all keys here fall into one shard
	s.Put(hot)
	for i := range 200 {
		if e, _ := s.Get(hot.Primary, all); e != hot {
			t.Fatalf("the hot entry is gone after %d others", i)
		}
		e := entry(32, 0, 100)
		binary.BigEndian.PutUint64(e.Primary[1:], uint64(i))
		e.Variant = e.Primary
		s.Put(e)
	}
	if s.Put(entry(48, 0, 4*(overhead+100))) {
		t.Error("an entry over a quarter of the limit is stored")
	}
}

// TestLimitIsHard: whatever is put, removed and read, the bytes stay within the limit and agree with what is there.
func TestLimitIsHard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(Options{Limit: 16 << 10})
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			url, variant := rapid.Byte().Draw(t, "url"), rapid.ByteRange(0, 3).Draw(t, "variant")
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				s.Remove(key.Key{url})
			case 1:
				s.Get(key.Key{url}, all)
			default:
				e := entry(url, variant, rapid.IntRange(0, 5000).Draw(t, "size"))
				stored := s.Put(e)
				if got, _ := s.Get(e.Primary, all); stored && got != e {
					t.Fatalf("the newest entry is not found")
				}
			}
			var bytes, n int64
			for i := range s.shard {
				for sl := s.shard[i].tail; sl != nil; sl = sl.newer {
					bytes, n = bytes+sl.entry.Size(), n+1
				}
			}
			if st := s.Stats(); st.Bytes > s.limit || st.Bytes != bytes || st.Entries != n {
				t.Fatalf("stats %+v, there are %d bytes in %d entries", st, bytes, n)
			}
		}
	})
}

func TestConcurrentPutsStayWithinTheLimit(t *testing.T) {
	s := New(Options{Limit: 64 << 10})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				s.Put(entry(byte(i), byte(g), i%3000))
				s.Get(key.Key{byte(i / 2)}, all)
				if st := s.Stats(); st.Bytes > s.limit {
					t.Errorf("%d bytes", st.Bytes)
				}
			}
		})
	}
	wg.Wait()
}
