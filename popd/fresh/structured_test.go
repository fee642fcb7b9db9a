package fresh

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseStrings(t *testing.T) {
	for _, tt := range []struct {
		field, want string
		ok          bool
	}{
		{``, `[]`, true},
		{`"a", "b c"`, `["a" "b c"]`, true},
		{`  "a" ,	"b"  `, `["a" "b"]`, true},
		{`"a\"\\"`, `["a\"\\"]`, true},
		{`"a";x=1;y="b", "c"`, `["a" "c"]`, true},
		{`"a",`, `[]`, false},
		{`"a" "b"`, `[]`, false},
		{`a`, `[]`, false},
		{`1`, `[]`, false},
		{`("a")`, `[]`, false},
		{`"a`, `[]`, false},
		{`"a\b"`, `[]`, false},
		{"\"a\x7f\"", `[]`, false},
		{`"ü"`, `[]`, false},
	} {
		got, ok := ParseStrings([]string{tt.field})
		if fmt.Sprintf("%q", got) != tt.want || ok != tt.ok {
			t.Errorf("%s: %q, %v; want %s, %v", tt.field, got, ok, tt.want, tt.ok)
		}
	}
}

// TestDictionariesThatAreBroken: RFC 9651 §4.2.2 fails the whole field for each of these.
func TestDictionariesThatAreBroken(t *testing.T) {
	for _, field := range []string{
		`a,`, `,a`, `a,,b`, `a=`, `a =1`, `a= 1`, `A`, `1a`, `a=1 b`, `a;`, `a;B`, `a=(1`, `a=(1,2)`, `a=(1"b")`, `a="`, `a='x'`,
		`a=1.`, `a=1.2345`, `a=1234567890123.1`, `a=1234567890123456`, `a=-`, `a=--1`, `a=?2`, `a=?`, `a=:YQ`, `a=:Y:`, `a=@1.5`, `a=%x`,
		`a=%"%G0"`, `a=%"%aF"`, `a=%"é"`, `é=1`, "a=1\tb", `=1`, `a&b`, `a=1;=2`,
	} {
		if m, ok := parseDictionary(field); ok {
			t.Errorf("%s is read as %v", field, m)
		}
	}
	for _, field := range []string{
		`a`, `*a`, `a_-.*1`, `a=1`, `a=-1`, `a=1.5`, `a=x/y:z`, `a=*x`, `a=""`, `a=:YQ==:`, `a=::`, `a=?0;x`, `a=@-5`, `a=%"%c3%bc"`, `a=(1 2;x  "c");y`, `a=()`, "a ,\t b", `a=1; x=2`,
	} {
		if _, ok := parseDictionary(field); !ok {
			t.Errorf("%s is refused", field)
		}
	}
}

func TestTags(t *testing.T) {
	h := head("Surrogate-Key: b  a", "Xkey: a c", "Cache-Tag: d , e f,,", `Cache-Groups: "g h", "a"`)
	if got := fmt.Sprintf("%q", Tags(h)); got != `["a" "b" "c" "d" "e f" "g h"]` {
		t.Errorf("tags %s", got)
	}
	if got := Tags(head(`Cache-Groups: "a", b`)); len(got) != 0 {
		t.Errorf("tags of a broken field: %q", got)
	}
	if n := len(Tags(head("Surrogate-Key: " + strings.Repeat("x", maxTagLength+1)))); n != 0 {
		t.Errorf("%d tags that are too long", n)
	}
	var many []string
	for i := range 2 * MaxTags {
		many = append(many, fmt.Sprint(i))
	}
	if n := len(Tags(head("Surrogate-Key: " + strings.Join(many, " ")))); n != MaxTags {
		t.Errorf("%d tags, want at most %d", n, MaxTags)
	}
}

func TestWish(t *testing.T) {
	for _, tt := range []struct {
		line string
		obey bool
		want Wish
	}{
		{"Cache-Control: no-cache, max-age=0", false, Wish{}},
		{"Cache-Control: only-if-cached, no-store", false, Wish{OnlyIfCached: true}},
		{"Pragma: no-cache", false, Wish{}},
		{"Pragma: no-cache", true, Wish{NoCache: true}},
		{"Cache-Control: no-cache, no-store", true, Wish{NoCache: true, NoStore: true}},
		{"Cache-Control: max-age=5, min-fresh=6, max-stale=7, stale-if-error=8", true, Wish{Aged: true, MaxAge: 5 * time.Second, MinFresh: 6 * time.Second, MaxStale: 7 * time.Second, IfError: 8 * time.Second}},
		{"Cache-Control: max-stale", true, Wish{MaxStale: maxDelta}},
		{"Cache-Control: max-age=x", true, Wish{Aged: true}},
		{"X-Other: 1", true, Wish{}},
	} {
		if got := ReadWish(head(tt.line), tt.obey); got != tt.want {
			t.Errorf("%s, obeyed %v: %+v, want %+v", tt.line, tt.obey, got, tt.want)
		}
	}
}

// TestWishOverTheTiers: what one cache tells the next is the same wish.
func TestWishOverTheTiers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		second := rapid.Map(rapid.Int64Range(0, 1000), func(n int64) time.Duration { return time.Duration(n) * time.Second })
		w := Wish{NoCache: rapid.Bool().Draw(t, "no-cache"), Aged: rapid.Bool().Draw(t, "aged"), MinFresh: second.Draw(t, "min-fresh"), MaxStale: second.Draw(t, "max-stale"), IfError: second.Draw(t, "if-error")}
		if w.Aged {
			w.MaxAge = second.Draw(t, "max-age")
		}
		field := w.Field()
		if got := ReadWish(head("Cache-Control: "+field), true); got != w {
			t.Fatalf("%q is read as %+v, was %+v", field, got, w)
		}
	})
}

func FuzzStructured(f *testing.F) {
	f.Add(`max-age=60;x="a", no-store=?0, a=(1 "b";c d), e=:aGk=:, f=@5, g=%"x"`)
	f.Add(`"a", "b\"";x, c`)
	f.Fuzz(func(t *testing.T, field string) {
		members, ok := parseDictionary(field)
		if ok && len(members) > 0 {
			if again, ok := parseDictionary(field + ", zz=7"); !ok || again["zz"].integer != 7 {
				t.Errorf("%q and one more member: %v, %v", field, again, ok)
			}
			if _, ok := parseDictionary(field + ","); ok {
				t.Errorf("%q is read with a comma at its end", field)
			}
		}
		all, ok := ParseStrings([]string{field})
		if !ok {
			return
		}
		quoted := make([]string, len(all))
		for i, s := range all {
			quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
		}
		again, ok := ParseStrings([]string{strings.Join(quoted, ", ")})
		if !ok || fmt.Sprint(again) != fmt.Sprint(all) {
			t.Errorf("%q is %q, which, written again, is %q", field, all, again)
		}
	})
}
