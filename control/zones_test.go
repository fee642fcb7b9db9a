package control

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

const (
	goodZone = "$TTL 300\n@ SOA ns1 host 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n"
	badZone  = "$TTL 300\n@ SOA ns1 host 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.530\n"
)

// with is the good configuration with other files.
func with(t *testing.T, files map[string]string) map[string][]byte {
	t.Helper()
	all := folderFiles(t, "testdata/good")
	for name, text := range files {
		all[name] = []byte(text)
	}
	return all
}

func serving(t *testing.T, last *Snapshot, files map[string]string) *Snapshot {
	t.Helper()
	s, err := ParseServing("good", with(t, files), last)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBadZoneKeepsNobodyElsesChangeAway(t *testing.T) {
	first := serving(t, nil, map[string]string{"zones/a.example": goodZone, "zones/b.example": badZone})
	if first.ZoneOf("x.a.example") == nil || first.ZoneOf("x.b.example") != nil || len(first.BadZones) != 1 {
		t.Fatalf("zones %v, bad %v", first.Zones, first.BadZones)
	}
	bad := first.BadZones[0]
	if bad.Origin != "b.example." || bad.Kept || !strings.HasPrefix(bad.Error, "zones/b.example:4:17: A record: \"192.0.2.530\" is no address for it; A takes") {
		t.Errorf("bad zone %+v", bad)
	}

	// Now a goes bad and b becomes good: a is served from its copy, also after a restart.
	second := serving(t, first, map[string]string{"zones/a.example": badZone, "zones/b.example": goodZone})
	if len(second.BadZones) != 1 || !second.BadZones[0].Kept || string(second.zone("a.example.").Text) != goodZone || string(second.Files["zones/a.example"]) != goodZone {
		t.Fatalf("bad %+v", second.BadZones)
	}
	dir := t.TempDir()
	if err := Save(dir, second); err != nil {
		t.Fatal(err)
	}
	saved, err := LoadSaved(dir)
	if err != nil {
		t.Fatal(err)
	}
	third := serving(t, saved, map[string]string{"zones/a.example": badZone, "zones/b.example": goodZone})
	if third.Digest != second.Digest || len(third.BadZones) != 1 || !third.BadZones[0].Kept {
		t.Errorf("after a restart: bad %+v, digest %s, want %s", third.BadZones, third.Digest, second.Digest)
	}

	// A zone that is taken away is gone, whatever there was.
	if gone := serving(t, third, nil); gone.ZoneOf("x.a.example") != nil || len(gone.BadZones) != 0 {
		t.Errorf("a removed zone is still there: %v", gone.BadZones)
	}
	if _, err := Parse("good", with(t, map[string]string{"zones/b.example": badZone})); err == nil {
		t.Error("`check` lets a bad zone pass")
	}
}

// Where nothing is known of a bad zone, whoever gets the files finds it bad as well.
func TestBadZoneTravelsAsItIs(t *testing.T) {
	first := serving(t, nil, map[string]string{"zones/b.example": badZone})
	again, err := ParseServing("good", first.Files, nil)
	if err != nil || len(again.BadZones) != 1 || again.Digest != first.Digest {
		t.Errorf("error %v, bad %v", err, again.BadZones)
	}
}

func TestUnchangedZonesAreNotReadAgain(t *testing.T) {
	first := serving(t, nil, map[string]string{"zones/a.example": goodZone})
	second := serving(t, first, map[string]string{"zones/a.example": goodZone, "zones/b.example": goodZone})
	same := func(origin string) bool {
		a, b := first.zone(origin), second.zone(origin)
		return a != nil && b != nil && &a.facts.servers[0] == &b.facts.servers[0]
	}
	if !same("a.example.") || !same("shop.example.") {
		t.Error("zones with the same text were read again")
	}
}

func TestOneZoneInTwoFiles(t *testing.T) {
	_, err := Parse("good", with(t, map[string]string{"zones/A.example": goodZone, "zones/a.example": goodZone}))
	if err == nil || !strings.Contains(err.Error(), "zones/a.example: zone a.example. is in zones/A.example, too; keep one of them") {
		t.Errorf("error %v", err)
	}
}

func TestWatchDeliversInSpiteOfABadZone(t *testing.T) {
	var last *Snapshot
	watched(t, WatchOptions{Last: func() *Snapshot { return last }}, func(w watch) {
		time.Sleep(2 * DefaultEvery)
		if got := w.delivered(); len(got) != 1 {
			t.Fatalf("delivered %v", got)
		}
		w.folder.set("zones/b.example", badZone, time.Now())
		time.Sleep(3 * DefaultEvery)
		if got := w.delivered(); len(got) != 1 || strings.HasPrefix(got[0], "error") {
			t.Errorf("delivered %v, want one Snapshot", got)
		}
	})
}

// manyZones is a configuration of n customers, each with a zone of 20 records and a steered host.
func manyZones(tb testing.TB, n int) map[string][]byte {
	tb.Helper()
	files := maps.Clone(folderFiles(tb, "testdata/good"))
	var site strings.Builder
	site.WriteString("hosts:\n")
	for i := range n {
		var b bytes.Buffer
		b.WriteString("$TTL 3600\n@ SOA ns1 host 1 3600 600 86400 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.53\nns2 A 203.0.113.1\n@ MX 10 mail\n@ TXT \"v=spf1 -all\"\nmail A 198.51.100.25\n")
		for j := range 12 {
			fmt.Fprintf(&b, "h%d A 198.51.100.%d\n", j, j+1)
		}
		files[fmt.Sprintf("zones/c%d.example", i)] = b.Bytes()
		fmt.Fprintf(&site, "  www.c%d.example: {steer: anycast}\n", i)
	}
	site.WriteString("origin: http://origin.shop.example\n")
	files["sites/many.yaml"] = []byte(site.String())
	return files
}

// What 10,000 zones cost to read, to read again when one has changed, and to warn about.
func BenchmarkTenThousandZones(b *testing.B) {
	files := manyZones(b, 10000)
	first, err := ParseServing("good", files, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := ParseServing("good", files, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one changed", func(b *testing.B) {
		changed := maps.Clone(files)
		changed["zones/c7.example"] = append(bytes.Clone(files["zones/c7.example"]), "new A 192.0.2.1\n"...)
		for b.Loop() {
			if _, err := ParseServing("good", changed, first); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("warn", func(b *testing.B) {
		for b.Loop() {
			Warn(first)
		}
	})
}
