package purge

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestCheck(t *testing.T) {
	url, other := URLTag([32]byte{1}), URLTag([32]byte{2})
	cart, home := KeyTag("shop", "cart"), KeyTag("shop", "home")
	for _, c := range []struct {
		rule string
		do   func(*Index) (stamp uint64)
		want Verdict
	}{
		{"nothing was purged", func(ix *Index) uint64 { return ix.Head() }, Current},
		{"its URL, after the fetch began", func(ix *Index) uint64 { s := ix.Head(); ix.Purge(false, url); return s }, Hard},
		{"its URL, before", func(ix *Index) uint64 { ix.Purge(false, url); return ix.Head() }, Current},
		{"another URL", func(ix *Index) uint64 { s := ix.Head(); ix.Purge(false, other); return s }, Current},
		{"one of its keys", func(ix *Index) uint64 { s := ix.Head(); ix.Purge(false, cart); return s }, Hard},
		{"a key that it has not", func(ix *Index) uint64 { s := ix.Head(); ix.Purge(false, KeyTag("other", "cart")); return s }, Current},
		{"softly", func(ix *Index) uint64 { s := ix.Head(); ix.Purge(true, home); return s }, Soft},
		{"softly, then hard", func(ix *Index) uint64 { s := ix.Head(); ix.Purge(true, home); ix.Purge(false, home); return s }, Hard},
		{"hard, fetched, then softly", func(ix *Index) uint64 { ix.Purge(false, home); s := ix.Head(); ix.Purge(true, home); return s }, Soft},
		{"one key hard and one softly", func(ix *Index) uint64 { s := ix.Head(); ix.Purge(true, home); ix.Purge(false, cart); return s }, Hard},
		{"all", func(ix *Index) uint64 { s := ix.Head(); ix.All(); return s }, Hard},
		{"all, before", func(ix *Index) uint64 { ix.All(); return ix.Head() }, Current},
	} {
		ix := NewIndex(0)
		ix.Purge(false, KeyTag("x", "before everything"))
		stamp := c.do(ix)
		if got := ix.Check(stamp, url, []Tag{cart, home}); got != c.want {
			t.Errorf("%s: got %v, want %v", c.rule, got, c.want)
		}
	}
}

// Whatever is purged in whatever order, an Index agrees with a plain list of all purges, but that a full one may call
// purged what is not.
func TestIndexAgreesWithAList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.SampledFrom([]int{16, 32, 10000}).Draw(rt, "limit")
		ix := NewIndex(limit)
		type purged struct {
			tag  Tag
			soft bool
			at   uint64
		}
		var list []purged
		for range rapid.IntRange(0, 300).Draw(rt, "purges") {
			p := purged{tag: Tag(rapid.IntRange(1, 200).Draw(rt, "tag")), soft: rapid.Bool().Draw(rt, "soft")}
			p.at = ix.Purge(p.soft, p.tag)
			list = append(list, p)
		}
		stamp := rapid.Uint64Range(0, uint64(len(list))).Draw(rt, "stamp")
		tags := rapid.SliceOfN(rapid.Map(rapid.IntRange(1, 250), func(i int) Tag { return Tag(i) }), 0, 5).Draw(rt, "tags")
		url := Tag(rapid.IntRange(1, 250).Draw(rt, "url"))
		want := Current
		for _, p := range list {
			for _, tag := range append([]Tag{url}, tags...) {
				switch {
				case tag != p.tag || p.at <= stamp:
				case p.soft:
					want = max(want, Soft)
				default:
					want = Hard
				}
			}
		}
		got := ix.Check(stamp, url, tags)
		if st := ix.Stats(); got < want || got > want && stamp >= st.Floor {
			rt.Fatalf("got %v, want %v (%+v)", got, want, st)
		}
		if st := ix.Stats(); st.Tags > limit {
			rt.Fatalf("%d tags, limit %d", st.Tags, limit)
		}
	})
}

// A purge that has returned is seen by every reader, while others purge and the table grows.
func TestPurgesAreSeenAtOnce(t *testing.T) {
	ix := NewIndex(1000)
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 2000 {
				tag := KeyTag(fmt.Sprint(w), fmt.Sprint(i))
				stamp := ix.Head()
				ix.Purge(i%2 == 0, tag)
				if got := ix.Check(stamp, 1, []Tag{tag}); got == Current {
					t.Errorf("tag %d of %d is current after its purge", i, w)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkCheck(b *testing.B) {
	ix := NewIndex(0)
	stamp := ix.Head()
	tags := []Tag{KeyTag("s", "a"), KeyTag("s", "b"), KeyTag("s", "c")}
	run := func(name string, stamp func() uint64) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s := stamp()
			for b.Loop() {
				if ix.Check(s, 7, tags) != Current {
					b.Fatal("not current")
				}
			}
		})
	}
	run("nothing since", ix.Head)
	for i := range 10000 {
		ix.Purge(false, KeyTag("other", fmt.Sprint(i)))
	}
	run("10000 since, three tags", func() uint64 { return stamp })
}
