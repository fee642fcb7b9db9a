package conf_test

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/internal/conf"
)

// messages reads text with read and returns its problems without the file's name.
func messages(text string, read func(conf.Value)) []string {
	d := conf.Parse("f", []byte(text))
	read(d.Root())
	err := d.Err()
	if err == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(err.Error(), "f:", ""), "\n")
}

func TestSyntaxErrorsNameThePlace(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"tab", "a:\n\tb: 1\n", "2:1: a tab is used for indentation; use spaces"},
		{"unclosed list", "a: [1,\nb: 2\n", "2:4: a list opened with `[` is not closed; add `,` between its items or `]` at its end; text with brackets or `?` in it needs quotes"},
		{"unclosed map", "x: 1\na: {b: 1\nc: 2\n", "2:8: a map opened with `{` is not closed; add `,` between its entries or `}` at its end; text with brackets or `?` in it needs quotes"},
		{"two colons", "a: 1\nb: c: d\n", "2:5: a second `key:` in one line, or a line indented too far; quote a value that holds `: `, or line the key up with its neighbours"},
		{"empty", "", "1:1: file is empty; write at least one `key: value` line, or remove the file"},
		{"comments only", "# x\n", "1:1: file is empty; write at least one `key: value` line, or remove the file"},
		{"two documents", "a: 1\n---\nb: 2\n", "2:1: a second document begins here; keep one document per file: remove the `---`"},
		{"binary", "a: 1\nb\xff: 2\n", "2:2: byte 0xff is not UTF-8; save the file as UTF-8"},
		{"old line ends", "a: 1\rb: 2\r", "1:5: '\\r', which YAML takes for the end of a line and editors do not; save the file with the line ends of Unix"},
		{"line separator", "a: x\u2028y\n", "1:5: '\\u2028', which YAML takes for the end of a line and editors do not; save the file with the line ends of Unix"},
		{"control", "a: \x01\n", "1:4: control character '\\x01'; remove it"},
		{"no colon", "a: 1\nbcd\ne: 2\n", "2:1: a line without `:`; write `key: value`"},
		{"at sign", "a: @x\n", "1:4: a value cannot begin with '@'; put the value in quotes"},
		{"star", "a: [*_x]\n", "1:7: a value that begins with `*` or `&` is not plain text; put it in quotes"},
		{"outdented", "  a: 1\nb: 2\n", "2:1: this line is indented less than the first one; line the top keys up"},
		{"quote", "a: 1\nb: 'x\nc: 1\n", "2:4: text in quotes is not closed; add the closing quote"},
		{"escape", "a: \"x\\q\"\n", "1:6: a backslash sequence in double quotes is unknown; double the backslash, or use single quotes"},
		{"colon in brackets", "a: [::1]\n", "1:4: text inside brackets cannot begin with `:`; put it in quotes, or write 0:: for ::"},
		{"list and keys", "a:\n  - 1\n  b: 2\n", "3:4: a line inside a list does not begin with `- `; begin it with `- `, or indent it like the key that it belongs to"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := messages(c.text, func(conf.Value) {})
			if diff := cmp.Diff([]string{c.want}, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAliasesAndTagsAreRefused(t *testing.T) {
	got := messages("a: &x {k: 1}\nb: *x\nc: !!binary aGk=\n<<: {d: 1}\n? [1]\n: 2\n", func(v conf.Value) {
		f := v.Fields("a", "b", "c")
		f.Get("b").Fields("k").Get("k").Int(0, 9) // reported already: no second message
		f.Get("b").Word()
	})
	want := []string{
		`1:4: anchor "&x"; write the value out where it is used`,
		`2:4: alias "*x"; write the value out where it is used`,
		`3:4: tag "!!binary"; write the plain value`,
		`4:1: merge key "<<"; write the value out where it is used`,
		"5:3: a key must be one word; write `key: value`; text with brackets needs quotes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestAllMistakesAtOnceInOrder(t *testing.T) {
	got := messages("intervall: 1s\nfall: x\nfall: 3\nnets: {a: [2001:db8::/32, 10.0.0.1/8, x]}\n", func(v conf.Value) {
		f := v.Fields("interval", "fall", "nets")
		for _, e := range f.Get("nets").Entries() {
			for _, item := range e.Value.Items() {
				item.Prefix()
			}
		}
		f.Get("fall").Int(1, 9)
		f.Need("rise", "write `rise: 10s`")
	})
	want := []string{
		`1:1: unknown key "intervall"; did you mean "interval"?`,
		`1:1: "rise" is missing; write ` + "`rise: 10s`",
		`2:7: fall "x" is not a whole number; write one from 1 to 9`,
		`3:1: "fall" is already defined at 2:1; keep one of the two`,
		`4:27: a "10.0.0.1/8" has host bits set; did you mean 10.0.0.0/8?`,
		`4:39: a "x" is not a prefix; write one such as 192.0.2.0/24 or 2001:db8::/48`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// read applies one reader to a lone scalar.
func read[T any](text string, reader func(conf.Value) T) (T, error) {
	d := conf.Parse("f", []byte("k: "+text+"\n"))
	got := reader(d.Root().Fields("k").Get("k"))
	return got, d.Err()
}

func checkReader[T comparable](t *testing.T, reader func(conf.Value) T, good map[string]T, bad map[string]string) {
	t.Helper()
	for text, want := range good {
		if got, err := read(text, reader); got != want || err != nil {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range bad {
		var zero T
		got, err := read(text, reader)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v; want one with %q", text, err, want)
		}
		if got != zero {
			t.Errorf("%s: got %v from a bad value; want the zero value", text, got)
		}
	}
	if got, err := read("", reader); err == nil {
		t.Errorf("empty value: got %v without error", got)
	}
	var zero T
	if got := reader(conf.Value{}); got != zero {
		t.Errorf("absent: got %v, want the zero value", got)
	}
}

func TestScalars(t *testing.T) {
	t.Run("duration", func(t *testing.T) {
		checkReader(t, conf.Value.Duration, map[string]time.Duration{
			"100ms": 100 * time.Millisecond, "1.5s": 1500 * time.Millisecond, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour,
			"0s": 0, "250us": 250 * time.Microsecond, `"10s"`: 10 * time.Second,
		}, map[string]string{
			"100": "has no unit; write 100ms, 100s, 100m or 100h", "0": "has no unit", "-1s": "is negative", "1 s": "is not a duration", "s": "is not a duration",
			"1w": "is not a duration", "1e3s": "is not a duration", "999999h999999h999999h": "292 years", "{a: 1}": "is a map", "[1s]": "is a list",
		})
	})
	t.Run("int", func(t *testing.T) {
		checkReader(t, func(v conf.Value) int { return v.Int(-5, 100) }, map[string]int{"7": 7, "-5": -5, "0": 0, "100": 100},
			map[string]string{"101": "out of range", "010": "begins with 0; write 10", "0x10": "not a whole", "1.0": "not a whole", "+1": "not a whole", "1_0": "not a whole", "99999999999999999999": "not a whole", `""`: "not a whole"})
	})
	t.Run("float", func(t *testing.T) {
		checkReader(t, func(v conf.Value) float64 { return v.Float(-90, 90) }, map[string]float64{"52.37": 52.37, "-4": -4, "0": 0},
			map[string]string{"91": "out of range", ".nan": "not a number", ".inf": "not a number", "1e1": "not a number", "x": "not a number", "1.2.3": "not a number", "0x1p-2": "not a number"})
		checkReader(t, func(v conf.Value) float64 { return v.Float(0, math.Inf(1)) }, map[string]float64{"5": 5}, map[string]string{"-1": "write a number of at least 0"})
	})
	t.Run("bool", func(t *testing.T) {
		checkReader(t, conf.Value.Bool, map[string]bool{"true": true, "false": false}, map[string]string{"yes": "neither", "on": "neither", "TRUE": "neither", "1": "neither"})
	})
	t.Run("enum", func(t *testing.T) {
		checkReader(t, func(v conf.Value) string { return v.Enum("geo", "anycast", "pinned") }, map[string]string{"geo": "geo"},
			map[string]string{"anicast": `did you mean "anycast"?`, "zzz": "one of geo, anycast, pinned"})
	})
	t.Run("rate", func(t *testing.T) {
		checkReader(t, conf.Value.Rate, map[string]float64{"200/s": 200, "20k/s": 20000, "1.5M/s": 1.5e6}, map[string]string{"200": "has no unit", "200/m": "has an unknown unit", "/s": "cannot be read", "-1/s": "cannot be read"})
	})
	t.Run("bit rate", func(t *testing.T) {
		checkReader(t, conf.Value.BitRate, map[string]float64{"100Mbit/s": 1e8, "10Gbit/s": 1e10}, map[string]string{"100": "has no unit", "100M": "has an unknown unit"})
	})
	t.Run("bytes", func(t *testing.T) {
		checkReader(t, conf.Value.Bytes, map[string]int64{"1GiB": 1 << 30, "512B": 512, "10GB": 1e10, "1.5KiB": 1536}, map[string]string{"1": "has no unit", "1G": "has an unknown unit", "99999999TiB": "too large"})
	})
	t.Run("fraction", func(t *testing.T) {
		checkReader(t, conf.Value.Fraction, map[string]float64{"0.5%": 0.005, "0.25": 0.25, "0": 0, "100%": 1}, map[string]string{"101%": "between 0 and 100", "-1%": "between", "x%": "not a share", "2": "between"})
	})
	t.Run("address", func(t *testing.T) {
		checkReader(t, conf.Value.Addr, map[string]netip.Addr{"192.0.2.53": netip.MustParseAddr("192.0.2.53"), "2001:db8::53": netip.MustParseAddr("2001:db8::53")},
			map[string]string{"192.0.2.0/24": "did you mean 192.0.2.0?", "fe80::1%eth0": "has a zone; write fe80::1", "::ffff:192.0.2.1": "write 192.0.2.1", "192.0.2": "not an IP", "010.0.0.1": "not an IP"})
	})
	t.Run("prefix", func(t *testing.T) {
		checkReader(t, conf.Value.Prefix, map[string]netip.Prefix{"192.0.2.0/24": netip.MustParsePrefix("192.0.2.0/24"), "2001:db8::/32": netip.MustParsePrefix("2001:db8::/32")},
			map[string]string{"192.0.2.1": "did you mean 192.0.2.1/32?", "192.0.2.0/33": "not a prefix", "::ffff:192.0.2.0/120": "write it as IPv4", "x": "not a prefix"})
	})
	t.Run("word", func(t *testing.T) {
		checkReader(t, conf.Value.Word, map[string]string{"NO": "NO", "12": "12", "'a b'": "a b"}, map[string]string{"[a]": "is a list", "{a: b}": "is a map"})
	})
}

func TestSecretsAreNamedAndNeverShown(t *testing.T) {
	d := conf.Parse("f", []byte("a: {env: X}\nb: {file: s/k}\nc: hunter2\nd: {}\ne: {file: x, env: y}\n"))
	f := d.Root().Fields("a", "b", "c", "d", "e")
	if got, want := f.Get("a").Secret(), (conf.Secret{Env: "X"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := f.Get("b").Secret(), (conf.Secret{File: "s/k"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, key := range []string{"c", "d", "e"} {
		if got := f.Get(key).Secret(); got != (conf.Secret{}) {
			t.Errorf("%s: got %v, want none", key, got)
		}
	}
	var problems *conf.Problems
	if !errors.As(d.Err(), &problems) || len(problems.List) != 3 {
		t.Fatalf("got %v, want 3 problems", d.Err())
	}
	var out bytes.Buffer
	if err := problems.Render(&out); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); strings.Contains(s, "hunter2") || !strings.Contains(s, "c: *******") {
		t.Errorf("the excerpt must mask the secret:\n%s", s)
	}
}

func TestItemsAndEntries(t *testing.T) {
	d := conf.Parse("f", []byte("one: x\nmany: [x, y]\nmap: {a: 1}\nnone:\n"))
	f := d.Root().Fields("one", "many", "map", "none")
	for key, want := range map[string]int{"one": 1, "many": 2, "map": 1, "none": 0, "absent": 0} {
		if got := len(f.Get(key).Items()); got != want {
			t.Errorf("%s: %d items, want %d", key, got, want)
		}
	}
	if n := f.Get("none"); !n.Exists() || !n.IsNull() || n.IsScalar() || n.Entries() != nil {
		t.Errorf("an empty key must exist, be null and have no entries")
	}
	if got, want := f.Get("many").Items()[1].Pos(), "f:2:11"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := d.Err(); err != nil {
		t.Errorf("unexpected problems: %v", err)
	}
}

func TestJoinKeepsFilesInOrder(t *testing.T) {
	a, b := conf.Plain("b.yaml", nil), conf.Plain("a.yaml", nil)
	a.Fail(2, 1, "second", "x")
	a.Fail(1, 1, "first", "x")
	a.Fail(1, 1, "first", "x")
	b.Fail(0, 0, "whole file", "")
	other := errors.New("other")
	err := conf.Join(nil, a.Err(), b.Err())
	if got, want := err.Error(), "b.yaml:1:1: first; x\nb.yaml:2:1: second; x\na.yaml: whole file"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if conf.Join(nil, nil) != nil {
		t.Errorf("joining nothing must be nil")
	}
	mixed := conf.Join(other, a.Err())
	var problems *conf.Problems
	if !errors.Is(mixed, other) || !errors.As(mixed, &problems) || len(problems.List) != 2 {
		t.Errorf("got %v, want both kinds of error", mixed)
	}
}

func TestTooManyProblemsAreCounted(t *testing.T) {
	d := conf.Plain("f", nil)
	for i := range conf.MaxProblems + 7 {
		d.Fail(i+1, 1, "wrong", "mend")
	}
	err := d.Err().Error()
	if !strings.HasSuffix(err, "f: 7 further problems; mend these first") {
		t.Errorf("got ...%q", err[len(err)-80:])
	}
}

func TestRenderDrawsTenLinesWithACaret(t *testing.T) {
	var text strings.Builder
	for i := range 20 {
		text.WriteString("key" + string(rune('a'+i)) + ": värde\n")
	}
	d := conf.Parse("f.yaml", []byte(text.String()))
	d.Root().Lookup("keyk").Fail("wrong", "mend")
	var problems *conf.Problems
	if !errors.As(d.Err(), &problems) {
		t.Fatal("no problems")
	}
	var out bytes.Buffer
	if err := problems.Render(&out); err != nil {
		t.Fatal(err)
	}
	want := `f.yaml:11:7: wrong; mend
   6 | keyf: värde
   7 | keyg: värde
   8 | keyh: värde
   9 | keyi: värde
  10 | keyj: värde
  11 | keyk: värde
     |       ^
  12 | keyl: värde
  13 | keym: värde
  14 | keyn: värde
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("excerpt (-want +got):\n%s", diff)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"interval", "timeout", "fall", "rise", "at"}
	for got, want := range map[string]string{
		"intervall": "interval", "INTERVAL": "interval", "tiemout": "timeout", "fal": "fall", "rize": "rise", "xyz": "", "": "", "ta": "at",
		strings.Repeat("x", 100): "",
	} {
		if n := conf.Nearest(got, known); n != want {
			t.Errorf("%q: got %q, want %q", got, n, want)
		}
	}
}

// What Span writes, Duration reads back.
func TestSpanProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]time.Duration{time.Nanosecond, time.Millisecond, time.Second, time.Minute, time.Hour}).Draw(t, "unit")
		want := time.Duration(rapid.Int64Range(0, 100000).Draw(t, "n")) * unit
		got, err := read(conf.Span(want), conf.Value.Duration)
		if got != want || err != nil {
			t.Fatalf("%q: got %v, %v; want %v", conf.Span(want), got, err, want)
		}
	})
}

func TestTraceRecordsWhatReadersAsk(t *testing.T) {
	d := conf.Parse("f", []byte("name: x\nmany:\n  a: {size: 1GiB}\n  b: {part: 3}\nlist: [1s, 2s]\n"))
	shape := d.Trace()
	f := d.Root().Fields("name", "many", "list", "absent")
	f.Need("name", "write it").Enum("x", "y")
	for _, e := range f.Get("many").Entries() {
		g := e.Value.Fields("size", "part")
		g.Get("size").Bytes()
		g.Get("part").Int(1, 9)
	}
	for _, item := range f.Get("list").Items() {
		item.Duration()
	}
	f.Get("absent").Secret()
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	scalar := func(kind conf.Kind) conf.Shape { return conf.Shape{Scalars: []conf.ScalarShape{{Kind: kind}}} }
	duration := scalar(conf.DurationKind)
	want := &conf.Shape{Reads: 1, Fields: []*conf.FieldShape{
		{Key: "name", Needs: 1, Lines: []int{1}, Shape: conf.Shape{Scalars: []conf.ScalarShape{{Kind: conf.EnumKind, Words: []string{"x", "y"}}}}},
		{Key: "many", Lines: []int{2}, Shape: conf.Shape{Each: &conf.Shape{Reads: 2, Fields: []*conf.FieldShape{
			{Key: "size", Lines: []int{3}, Shape: scalar(conf.BytesKind)},
			{Key: "part", Lines: []int{4}, Shape: conf.Shape{Scalars: []conf.ScalarShape{{Kind: conf.IntKind, Lo: 1, Hi: 9}}}},
		}}}},
		{Key: "list", Lines: []int{5}, Shape: conf.Shape{Items: &duration}},
		{Key: "absent", Shape: conf.Shape{Fields: []*conf.FieldShape{{Key: "file"}, {Key: "env"}}}},
	}}
	if diff := cmp.Diff(want, shape); diff != "" {
		t.Errorf("shape (-want +got):\n%s", diff)
	}
}
