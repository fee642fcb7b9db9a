package accesslog

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func record() *Record {
	return &Record{
		Time: time.Date(2026, 11, 30, 12, 0, 1, 5000, time.UTC), Client: netip.MustParseAddr("2001:db8::7"),
		Method: "GET", Scheme: "https", Host: "www.shop.example", Target: "/a?b=c", Proto: "HTTP/1.1", Status: 200,
		Bytes: 1024, Duration: 1500 * time.Microsecond, Result: "miss", Upstream: "shield", Site: "shop",
		Referer: "https://x.example/", UserAgent: `say "hi"`,
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		encode func([]byte, *Record) []byte
		want   string
	}{
		{appendJSON, `{"time":"2026-11-30T12:00:01.000005Z","client":"2001:db8::7","method":"GET","target":"/a?b=c","scheme":"https",` +
			`"host":"www.shop.example","proto":"HTTP/1.1","site":"shop","result":"miss","upstream":"shield",` +
			`"referer":"https://x.example/","user_agent":"say \"hi\"","status":200,"bytes":1024,"seconds":0.001500}` + "\n"},
		{appendCombined, `2001:db8::7 - - [30/Nov/2026:12:00:01 +0000] "GET /a?b=c HTTP/1.1" 200 1024 "https://x.example/" "say \"hi\"" ` +
			`"www.shop.example" miss shield 0.001500` + "\n"},
	} {
		if got := string(c.encode(nil, record())); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// No text of a client breaks a line or a field out of its quotes.
func FuzzLines(f *testing.F) {
	f.Add("/\" 200 1\n127.0.0.1", "\x00\x7f\xff\\")
	f.Fuzz(func(t *testing.T, target, agent string) {
		r := record()
		r.Target, r.UserAgent = target, agent
		line := appendJSON(nil, r)
		var got map[string]any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for field, sent := range map[string]string{"target": target, "user_agent": agent} {
			want := string([]rune(sent)) // each byte that is no UTF-8 is U+FFFD
			if have, there := got[field]; there && have != want || !there && (want != "" || field == "target") {
				t.Errorf("%s %q, want %q", field, have, want)
			}
		}
		text := appendCombined(nil, r)
		quotes := 0
		for i := 0; i < len(text); i++ {
			switch {
			case text[i] == '\\':
				i++
			case text[i] == '"':
				quotes++
			case text[i] < ' ' && i != len(text)-1, text[i] >= 0x7f:
				t.Fatalf("byte %#x in %q", text[i], text)
			}
		}
		if quotes != 8 {
			t.Errorf("%d quotes in %q, want 8", quotes, text)
		}
	})
}

// start runs a log until the test ends or stop is called.
func start(t *testing.T, o Options) (l *Log, stop func()) {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return l, stop
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		t.Errorf("%s ends within a line", path)
	}
	return strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
}

// Every line that was taken is in exactly one file, whole, in order, across rotations and restarts.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(path, []byte(`{"torn`), 0o600); err != nil {
		t.Fatal(err)
	}
	size := int64(len(appendJSON(nil, record())))
	for range 3 {
		l, stop := start(t, Options{Path: path, Rotate: 10 * size, Keep: 3})
		for range 8 {
			l.Add(record())
		}
		stop()
	}
	if got := lines(t, path); len(got) != 8 {
		t.Errorf("the newest file has %d lines, want 8", len(got))
	}
	if got := lines(t, path+".1"); len(got) != 8 {
		t.Errorf("the one before has %d lines, want 8", len(got))
	}
	if got := lines(t, path+".2"); len(got) != 9 || got[0] != "{\"torn\n" {
		t.Errorf("the oldest has %d lines and begins with %q, want 9 and the torn one", len(got), got[0])
	}
}

// A full buffer costs lines, and says so; it never costs a request time.
func TestFullBufferDrops(t *testing.T) {
	reg := prometheus.NewRegistry()
	l, err := New(Options{Path: filepath.Join(t.TempDir(), "log"), Buffer: 1000, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // nobody writes: Run was not called
		l.Add(record())
	}
	got := map[string]float64{}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	taken, dropped := got["popd_access_log_lines_total"], got["popd_access_log_dropped_total"]
	if taken+dropped != 100 || taken < 2 || int(taken) != strings.Count(string(l.buf), "\n") || len(l.buf) > 1000 {
		t.Errorf("%v taken, %v dropped, %d bytes wait", taken, dropped, len(l.buf))
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "want a file name or -"},
		{Options{Path: "x", Format: "xml"}, `format "xml": want json or combined`},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	l, err := New(Options{Path: filepath.Join(t.TempDir(), "none", "log")})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context()); err == nil {
		t.Error("a path that cannot be opened is no error")
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, format := range []Format{JSON, Combined} {
		b.Run(string(format), func(b *testing.B) {
			l, err := New(Options{Path: "x", Format: format})
			if err != nil {
				b.Fatal(err)
			}
			r := record()
			l.buf = make([]byte, 0, 2*DefaultBuffer)
			b.ReportAllocs()
			for b.Loop() {
				if l.Add(r); len(l.buf) > DefaultBuffer/2 {
					l.buf = l.buf[:0]
				}
			}
		})
	}
}
