package gossip

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestMessageComesOutAsItWentIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Uint64().Draw(t, "id")
		key := rapid.StringMatching(`[a-z]{1,32}`).Draw(t, "key")
		payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		gotID, gotKey, got, err := open(seal(id, key, payload))
		if err != nil || gotID != id || gotKey != key || !bytes.Equal(got, payload) {
			t.Fatalf("got %d %q %q, %v; want %d %q %q", gotID, gotKey, got, err, id, key, payload)
		}
	})
}

func TestExchangeComesOutAsItWentIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.StringMatching(`[a-z]{1,32}`)).Draw(t, "keys")
		var buf []byte
		for _, key := range want {
			buf = appendEntry(buf, key, []byte(key+key))
		}
		i := 0
		err := entries(buf, func(key string, payload []byte) {
			if i >= len(want) || key != want[i] || string(payload) != key+key {
				t.Fatalf("entry %d: got %q with %q", i, key, payload)
			}
			i++
		})
		if err != nil || i != len(want) {
			t.Fatalf("got %d entries, %v; want %d", i, err, len(want))
		}
	})
}

func TestSeenRemembersAtLeastTheNewestAndIsBounded(t *testing.T) {
	var s seen
	for id := range uint64(5 * maxSeen) {
		if !s.first(id) {
			t.Fatalf("number %d: not new", id)
		}
		if old := id - min(id, maxSeen-1); s.first(old) {
			t.Fatalf("number %d: forgotten at %d", old, id)
		}
	}
	if n := len(s.now) + len(s.old); n > 2*maxSeen {
		t.Errorf("remembers %d numbers, want at most %d", n, 2*maxSeen)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(seal(1, "health", []byte("x")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, msg []byte) {
		id, key, payload, err := open(msg)
		if err == nil && !bytes.Equal(seal(id, key, payload), msg) {
			t.Errorf("%x does not come out as it went in", msg)
		}
	})
}

func FuzzEntries(f *testing.F) {
	f.Add(appendEntry(appendEntry(nil, "health", []byte("x")), "intent", nil))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, buf []byte) {
		total := 0
		err := entries(buf, func(key string, payload []byte) { total += len(key) + len(payload) })
		if total > len(buf) || err == nil && len(buf) > 0 && total == 0 {
			t.Errorf("%d bytes came out of %d, %v", total, len(buf), err)
		}
	})
}
