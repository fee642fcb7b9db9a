package shard

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/popd/key"
)

func keyOf(i int) key.Key { return sha256.Sum256(fmt.Appendf(nil, "http\x00a.example\x00/%d", i)) }

// Every node owns its share, the order of the names does not matter, and a node that goes moves only its own keys.
func TestOrder(t *testing.T) {
	names := []string{"ams1", "ams2", "ams3", "ams4", "ams5"}
	const keys = 50000
	count := map[string]int{}
	for i := range keys {
		k := keyOf(i)
		order := Order(k, names)
		count[order[0]]++
		shuffled := slices.Clone(names)
		rand.New(rand.NewPCG(uint64(i), 1)).Shuffle(len(shuffled), func(a, b int) { shuffled[a], shuffled[b] = shuffled[b], shuffled[a] })
		if again := Order(k, shuffled); !slices.Equal(order, again) {
			t.Fatalf("key %d: %v or %v", i, order, again)
		}
		without := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "ams3" })
		if now := Order(k, without)[0]; order[0] != "ams3" && now != order[0] || order[0] == "ams3" && now != order[1] {
			t.Fatalf("key %d of %v went to %s when ams3 went", i, order, now)
		}
	}
	for _, n := range names {
		if share := float64(count[n]) / keys; share < 0.19 || share > 0.21 {
			t.Errorf("%s owns %.3f of the keys, want 0.2", n, share)
		}
	}
}

// However skewed the keys are, no node has more under way than the bound; in calm times every key is at its owner.
func TestBalancerBoundsTheLoad(t *testing.T) {
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		var b Balancer
		skew := rapid.IntRange(1, 50).Draw(rt, "keys")
		var ends []func()
		for i := range rapid.IntRange(1, 400).Draw(rt, "requests") {
			k := keyOf(rapid.IntRange(0, skew).Draw(rt, "key"))
			name, done := b.Pick(k, names)
			ends = append(ends, done)
			if limit := max(calm, int(loadFactor*float64(i+1)/3)+1); b.under[name] > limit {
				rt.Fatalf("%d of %d requests at %s, limit %d", b.under[name], i+1, name, limit)
			}
			if i < calm && name != Order(k, names)[0] {
				rt.Fatalf("request %d went to %s though nobody is busy", i, name)
			}
		}
		for _, done := range ends {
			done()
		}
		if b.total != 0 || len(b.under) != 0 {
			rt.Fatalf("after all: %d under way, %v", b.total, b.under)
		}
	})
	var b Balancer
	if name, done := b.Pick(keyOf(1), nil); name != "" {
		t.Errorf("picked %q of nobody", name)
	} else {
		done()
	}
}

// A key with a large share of the requests is hot, one of the long tail never, and heat goes when it is asked no more.
func TestHeat(t *testing.T) {
	var h Heat
	r := rand.New(rand.NewPCG(1, 2))
	hot := 0
	for i := range 4 * heatWindow {
		if h.Touch(keyOf(1 + i)) {
			hot++
		}
		if r.IntN(100) == 0 && h.Touch(keyOf(0)) == false && i > heatWindow {
			t.Fatal("a key with 1 % of the requests is not hot")
		}
	}
	if hot > 0 {
		t.Errorf("%d of the keys that were asked once are hot", hot)
	}
	for i := range 12 * heatWindow {
		h.Touch(keyOf(1 + i%100000))
	}
	if h.Touch(keyOf(0)) {
		t.Error("a key that nobody asks any more is still hot")
	}
}

func BenchmarkOrder(b *testing.B) {
	k, names := keyOf(1), []string{"ams1", "ams2", "ams3", "ams4"}
	for b.Loop() {
		Order(k, names)
	}
}

func BenchmarkTouch(b *testing.B) {
	var h Heat
	k := keyOf(1)
	b.ReportAllocs()
	for b.Loop() {
		h.Touch(k)
	}
}
