package mem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/purge"
)

// entry makes an entry; variant 0 is the URL's only one.
func entry(url uint64, variant byte) Entry {
	e := Entry{Status: 200, Header: http.Header{"Content-Type": {"text/plain"}, "X-Url": {fmt.Sprint(url, variant)}}}
	binary.BigEndian.PutUint64(e.Primary[:], url)
	e.Variant = e.Primary
	if variant != 0 {
		e.Variant[15], e.Vary = variant, []string{"accept", "x-device"}
	}
	return e
}

// selects finds the entry of entry.
func selects(e Entry) Select { return func([]byte) key.Key { return e.Variant } }

// body makes n bytes that can be told from others.
func body(seed uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(uint64(i)*7 + seed + uint64(i>>8))
	}
	return b
}

func whole(v View) []byte { return bytes.Join(v.AppendBody(nil), nil) }

// checkEmpty fails unless every slot has come back, once all entries are gone and all pins released.
func checkEmpty(t interface{ Fatalf(string, ...any) }, s *Store) {
	for i := range s.shards {
		sh := &s.shards[i]
		for s.evict(sh) {
		}
		if sh.small.bytes != 0 || sh.main.bytes != 0 || sh.small.entries != 0 || sh.main.entries != 0 {
			t.Fatalf("empty queues of shard %d say %+v, %+v", i, sh.small, sh.main)
		}
	}
	if n := len(s.arena.pages) - 1 - len(s.arena.empty); n != 0 || s.Stats().Filling != 0 || s.Stats().Entries != 0 {
		t.Fatalf("%d pages are still in use, %+v", n, s.Stats())
	}
	for i, owner := range s.arena.owners {
		if owner != 0 {
			t.Fatalf("the body at KiB %d still has an owner", i)
		}
	}
}

func TestVariantsOfOneURL(t *testing.T) {
	s := New(Options{Limit: 4 << 20})
	for v := range byte(key.MaxVariants + 8) {
		if err := s.Put(entry(1, v+1), body(uint64(v), 10)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Entries; n != key.MaxVariants {
		t.Errorf("%d variants are kept, want %d", n, key.MaxVariants)
	}
	if v, vary := s.Get(entry(1, 0).Primary, selects(entry(1, 1))); v.OK() || !reflect.DeepEqual(vary, []string{"accept", "x-device"}) {
		t.Errorf("the oldest variant: found %v; the others differ by %q", v.OK(), vary)
	}
	if v, _ := s.Get(entry(1, 0).Primary, nil); v.OK() {
		t.Error("without a selection an entry with Vary is found")
	}
	if err := s.Put(entry(1, 20), body(0, 99)); err != nil {
		t.Fatal(err)
	}
	v, _ := s.Get(entry(1, 0).Primary, selects(entry(1, 20)))
	if !v.OK() || v.Length() != 99 || !reflect.DeepEqual(v.Vary(), []string{"accept", "x-device"}) {
		t.Error("a variant is not replaced")
	}
	v.Release()
	if n := s.Remove(entry(1, 0).Primary); n != key.MaxVariants {
		t.Errorf("removed %d", n)
	}
	checkEmpty(t, s)
}

func TestEntryComesBackAsItWentIn(t *testing.T) {
	s := New(Options{Limit: 16 << 20})
	for i, n := range []int{0, 1, 500, 1023, 1024, 1025, 4096, 30_000, 64 << 10, 65<<10 + 3, 1 << 20, 3_000_001} {
		e := entry(uint64(i+1), byte(i%2))
		e.Status, e.Stamp = 300+i, uint64(i)<<40
		e.Tags = []purge.Tag{1, 1 << 63, purge.Tag(i)}[:i%4%3+1]
		e.Header = http.Header{"Etag": {`"x"`}, "Set-Cookie": {"a=1", "b=2"}, "X-Empty": {""}, "Content-Length": {"777"}}
		e.Policy = fresh.Policy{Lifetime: time.Duration(i) * time.Minute}
		if err := s.Put(e, body(uint64(i), n/2), body(uint64(i), n)[n/2:]); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		v, _ := s.Get(e.Primary, selects(e))
		if !v.OK() {
			t.Fatalf("%d bytes: not found", n)
		}
		want := append(body(uint64(i), n/2), body(uint64(i), n)[n/2:]...)
		fields := e.Header.Clone()
		delete(fields, "Content-Length")
		switch {
		case !bytes.Equal(whole(v), want) || v.Length() != int64(n):
			t.Errorf("%d bytes: the body differs", n)
		case !reflect.DeepEqual(v.Fields(), fields) || v.Status() != e.Status || v.Stamp() != e.Stamp || !reflect.DeepEqual(v.Tags(), e.Tags):
			t.Errorf("%d bytes: got %v %d %d %v", n, v.Fields(), v.Status(), v.Stamp(), v.Tags())
		case !bytes.HasSuffix(v.Header(), fmt.Appendf(nil, "\r\nContent-Length: %d\r\n", n)) || string(v.Field("Set-Cookie")) != "a=1" || v.Field("X") != nil:
			t.Errorf("%d bytes: header block %q", n, v.Header())
		}
		if n > 2 {
			if got := bytes.Join(v.AppendRange(nil, int64(n/3), int64(n/2)), nil); !bytes.Equal(got, want[n/3:n/3+n/2]) {
				t.Errorf("%d bytes: a range of the body differs", n)
			}
		}
		v.Release()
	}
	checkEmpty(t, s)
}

// TestPolicyIsKeptWhole sets every field of a policy: a new one must not be forgotten here.
func TestPolicyIsKeptWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p fresh.Policy
		v := reflect.ValueOf(&p).Elem()
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.Int64:
				f.SetInt(int64(rapid.IntRange(0, 1<<40).Draw(t, "n")))
			case reflect.Uint8:
				f.SetUint(uint64(rapid.Byte().Draw(t, "flags")))
			default:
				t.Fatalf("a policy's field %s is no plain number", v.Type().Field(i).Name)
			}
		}
		s := New(Options{Limit: MinLimit})
		e := entry(1, 0)
		e.Policy = p
		if err := s.Put(e); err != nil {
			t.Fatal(err)
		}
		got, _ := s.Get(e.Primary, nil)
		defer got.Release()
		if got.Policy() != p {
			t.Fatalf("got %+v, want %+v", got.Policy(), p)
		}
	})
}

func TestHeadersThatWouldBreakTheMessageAreRefused(t *testing.T) {
	s := New(Options{Limit: 1 << 20})
	for _, h := range []http.Header{
		{"X": {"a\r\nSet-Cookie: b=1"}},
		{"X\r\nY": {"a"}},
		{"X Y": {"a"}},
		{"": {"a"}},
		{"X": {"a\x00"}},
		{"X": {string(make([]byte, 1<<20))}},
	} {
		e := entry(1, 0)
		e.Header = h
		if err := s.Put(e, []byte("x")); err == nil {
			t.Errorf("%.40q is stored", h)
		}
	}
	checkEmpty(t, s)
}

// TestWhoReadsKeepsTheBytes: what is removed, replaced, updated or dropped stays as it was for its readers.
func TestWhoReadsKeepsTheBytes(t *testing.T) {
	for _, n := range []int{10, 2000, 100_000} {
		s := New(Options{Limit: 2 << 20})
		e := entry(1, 0)
		if err := s.Put(e, body(1, n)); err != nil {
			t.Fatal(err)
		}
		first, _ := s.Get(e.Primary, nil)
		next := e
		next.Header = http.Header{"X-New": {"1"}}
		if !s.Update(first, next) {
			t.Fatal("not updated")
		}
		second, _ := s.Get(e.Primary, nil)
		if first.Same(second) || second.Field("X-New") == nil || first.Field("X-New") != nil {
			t.Errorf("headers after an update: %q, of the old one %q", second.Header(), first.Header())
		}
		if s.Update(first, next) {
			t.Error("an entry that is no longer there is updated")
		}
		if !s.Update(second, next) {
			t.Error("not updated again")
		}
		third, _ := s.Get(e.Primary, nil)
		s.Remove(e.Primary)
		for i := range 2000 {
			if err := s.Put(entry(uint64(i+2), 0), body(9, 700)); err != nil && !errors.Is(err, ErrNoRoom) {
				t.Fatal(err)
			}
		}
		for i, v := range []View{first, second, third} {
			if !bytes.Equal(whole(v), body(1, n)) {
				t.Errorf("%d bytes: reader %d sees others' bytes", n, i)
			}
		}
		third.Release()
		first.Release()
		if !bytes.Equal(whole(second), body(1, n)) {
			t.Errorf("%d bytes: the owner's bytes went with another reader", n)
		}
		second.Release()
		checkEmpty(t, s)
	}
}

func TestFillCanBeReadWhileItArrivesAndLeavesNothing(t *testing.T) {
	s := New(Options{Limit: 8 << 20})
	for _, end := range []string{"abort", "commit", "refused"} {
		f := s.Fill()
		want := body(3, 300_000)
		var seen [][]byte
		for rest := want; len(rest) > 0; {
			room, err := f.Room(-1)
			if err != nil {
				t.Fatal(err)
			}
			n := copy(room[:min(len(room), 1000)], rest)
			seen = append(seen, room[:n])
			f.Wrote(n)
			rest = rest[n:]
		}
		e := entry(1, 0)
		switch end {
		case "commit":
			if err := f.Commit(e); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(whole(f.Entry()), want) {
				t.Error("the entry's body differs")
			}
			s.Remove(e.Primary)
		case "refused":
			e.Header["X"] = []string{"\r\n"}
			if f.Commit(e) == nil {
				t.Error("stored")
			}
		}
		if !bytes.Equal(bytes.Join(seen, nil), want) {
			t.Errorf("%s: readers see others' bytes", end)
		}
		f.Free()
		checkEmpty(t, s)
	}
}

// TestStoreAgreesWithAModel: whatever is put, updated, removed and read, what is found is what was put last, the bytes
// stay within the limit, and in the end every slot comes back.
func TestStoreAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(Options{Limit: MinLimit})
		type stored struct {
			seed uint64
			n    int
			note string
		}
		model := map[[2]byte]stored{}
		var pinned []func()
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			url, variant := rapid.ByteRange(1, 12).Draw(t, "url"), rapid.ByteRange(0, 3).Draw(t, "variant")
			id, e := [2]byte{url, variant}, entry(uint64(url), variant)
			switch op := rapid.IntRange(0, 6).Draw(t, "op"); op {
			case 0:
				s.Remove(e.Primary)
				for v := range byte(4) {
					delete(model, [2]byte{url, v})
				}
			case 1, 2, 3:
				v, _ := s.Get(e.Primary, selects(e))
				if !v.OK() {
					if variant != 0 {
						delete(model, id) // dropped
					}
					break
				}
				want, ok := model[[2]byte{url, 0}]
				if len(v.Vary()) > 0 {
					want, ok = model[id]
				}
				if !ok || !bytes.Equal(whole(v), body(want.seed, want.n)) || string(v.Field("X-Note")) != want.note {
					t.Fatalf("found %d bytes, note %q; want %+v, %v", v.Length(), v.Field("X-Note"), want, ok)
				}
				if op == 1 && len(v.Vary()) == len(e.Vary) {
					want.note = fmt.Sprint(step)
					e.Header.Set("X-Note", want.note)
					if s.Update(v, e) {
						model[id] = want
					}
				}
				if op == 2 {
					pinned = append(pinned, func() {
						if !bytes.Equal(whole(v), body(want.seed, want.n)) {
							t.Fatalf("a pinned entry has changed")
						}
						v.Release()
					})
					break
				}
				v.Release()
			default:
				want := stored{uint64(step), rapid.SampledFrom([]int{0, 5, 900, 1024, 3000, 9000, 50_000, 200_000}).Draw(t, "size"), ""}
				if err := s.Put(e, body(want.seed, want.n)); err == nil {
					model[id] = want
				}
			}
			if st := s.Stats(); st.Bytes > s.limit {
				t.Fatalf("%d bytes, limit %d", st.Bytes, s.limit)
			}
		}
		for _, check := range pinned {
			check()
		}
		checkEmpty(t, s)
	})
}

// TestShiftOfSizes: a store full of small answers takes large ones, and the other way round, dropping about as much as
// comes in.
func TestShiftOfSizes(t *testing.T) {
	s := New(Options{Limit: 16 << 20})
	id := uint64(0)
	for _, size := range []int{200, 300_000, 1024, 40_000, 5000, 3_000_000, 100} {
		refused := 0
		for total := 0; total < 20<<20; total += size + 300 {
			id++
			if err := s.Put(entry(id, 0), body(0, 0), make([]byte, size)); err != nil {
				refused++
			}
		}
		st := s.Stats()
		if refused > 0 || st.Bytes > 16<<20 || st.Entries*int64(size+300) < 8<<20 {
			t.Errorf("%d bytes each: %d refused, %d entries in %d bytes", size, refused, st.Entries, st.Bytes)
		}
	}
	checkEmpty(t, s)
}

func TestManyUseItAtOnce(t *testing.T) {
	s := New(Options{Limit: 2 << 20})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			for i := range 3000 {
				url := r.Uint64N(40)
				n := int(url * 1000)
				e := entry(url, 0)
				switch r.IntN(8) {
				case 0:
					s.Remove(e.Primary)
				case 1, 2:
					if err := s.Put(e, body(url, n)); err != nil && !errors.Is(err, ErrNoRoom) {
						t.Error(err)
					}
				default:
					v, _ := s.Get(e.Primary, nil)
					if !v.OK() {
						continue
					}
					if i%7 == 0 {
						s.Update(v, e)
					}
					if !bytes.Equal(whole(v), body(url, n)) {
						t.Errorf("URL %d: others' bytes", url)
					}
					v.Release()
				}
				if st := s.Stats(); st.Bytes > s.limit {
					t.Errorf("%d bytes", st.Bytes)
				}
			}
		})
	}
	wg.Wait()
	checkEmpty(t, s)
}

func TestLookupAllocatesNothing(t *testing.T) {
	s := New(Options{Limit: 1 << 20})
	e := entry(1, 0)
	if err := s.Put(e, body(1, 1024)); err != nil {
		t.Fatal(err)
	}
	pieces := make([][]byte, 0, 4)
	if n := testing.AllocsPerRun(100, func() {
		v, _ := s.Get(e.Primary, nil)
		pieces = v.AppendBody(pieces[:0])
		_, _, _ = v.Policy(), v.Header(), v.Tags()
		v.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGet(b *testing.B) {
	s := New(Options{Limit: 256 << 20})
	for i := range uint64(100_000) {
		if err := s.Put(entry(i, 0), body(i, 1024)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	var k key.Key
	var i uint64
	for b.Loop() {
		i = (i + 7919) % 100_000
		binary.BigEndian.PutUint64(k[:], i)
		v, _ := s.Get(k, nil)
		v.Release()
	}
}

func BenchmarkPut(b *testing.B) {
	s := New(Options{Limit: 64 << 20})
	b.ReportAllocs()
	p := body(1, 1024)
	var i uint64
	for b.Loop() {
		i++
		if err := s.Put(entry(i, 0), p); err != nil {
			b.Fatal(err)
		}
	}
}
