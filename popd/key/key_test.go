package key

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/site"
)

func TestCanonical(t *testing.T) {
	for _, tt := range []struct{ name, scheme, host, path, query, want string }{
		{"case of scheme and host", "HTTP", "WWW.Shop.Example", "/A", "", "http://www.shop.example/A"},
		{"default port", "http", "h:80", "/", "", "http://h/"},
		{"another's default port stays", "http", "h:443", "/", "", "http://h:443/"},
		{"https default port", "https", "h:443", "/", "", "https://h/"},
		{"empty path", "http", "h", "", "", "http://h/"},
		{"unreserved are decoded", "http", "h", "/%7euser/%41", "", "http://h/~user/A"},
		{"reserved stay, in upper case", "http", "h", "/a%2fb%3f", "", "http://h/a%2Fb%3F"},
		{"bare bytes are encoded", "http", "h", "/a b\xff", "", "http://h/a%20b%FF"},
		{"a percent sign that encodes nothing", "http", "h", "/100%", "", "http://h/100%25"},
		{"dot segments", "http", "h", "/a/./b/../c/..", "", "http://h/a/"},
		{"dot segments in disguise", "http", "h", "/static/%2e%2E/cart", "", "http://h/cart"},
		{"above the root", "http", "h", "/../../a", "", "http://h/a"},
		{"empty segments count", "http", "h", "//a//b", "", "http://h//a//b"},
		{"query sorted by name", "http", "h", "/", "b=1&a=2", "http://h/?a=2&b=1"},
		{"one name keeps its order", "http", "h", "/", "a=2&b&a=1", "http://h/?a=2&a=1&b"},
		{"empty parameters go", "http", "h", "/", "&&a=1&", "http://h/?a=1"},
		{"dropped", "http", "h", "/", "utm_source=x&a=1&fbclid=2", "http://h/?a=1"},
		{"dropped in disguise", "http", "h", "/", "%75tm%5Fsource=x&a=1", "http://h/?a=1"},
		{"only whole names are dropped", "http", "h", "/", "xfbclid=1&fbclid2=3", "http://h/?fbclid2=3&xfbclid=1"},
	} {
		got := Canonical(tt.scheme, tt.host, tt.path, tt.query, site.Key{DropQuery: []string{"utm_*", "fbclid"}}).String()
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestCanonicalByTheSitesRules(t *testing.T) {
	for _, tt := range []struct {
		name        string
		rules       site.Key
		query, want string
	}{
		{"kept", site.Key{KeepQuery: []string{"id", "p_*"}}, "x=1&id=2&p_a=3&pa=4", "id=2&p_a=3"},
		{"kept in disguise", site.Key{KeepQuery: []string{"id"}}, "%69d=2&x=1", "id=2"},
		{"kept and dropped", site.Key{KeepQuery: []string{"p*"}, DropQuery: []string{"px"}}, "px=1&py=2", "py=2"},
		{"none kept", site.Key{KeepQuery: []string{"id"}}, "x=1", ""},
		{"all dropped", site.Key{DropQuery: []string{"*"}}, "x=1&y", ""},
		{"not sorted", site.Key{Unsorted: true}, "b=1&&a=2", "b=1&a=2"},
		{"a blank in a name", site.Key{DropQuery: []string{"a b"}}, "a+b=1&a%20b=2&ab=3", "ab=3"},
		{"a value is not a name", site.Key{DropQuery: []string{"utm_*"}}, "a=utm_x&=utm_y", "=utm_y&a=utm_x"},
		{"an encoded & parts nothing", site.Key{DropQuery: []string{"x"}}, "a=1%26x=2", "a=1%26x=2"},
		{"an encoded = is part of a name", site.Key{DropQuery: []string{"x"}}, "x%3D1&x=1", "x%3D1"},
	} {
		if got := Canonical("http", "h", "/", tt.query, tt.rules).Query; got != tt.want {
			t.Errorf("%s: %q becomes %q, want %q", tt.name, tt.query, got, tt.want)
		}
	}
	one := site.Key{Scheme: "https"}
	if a, b := Canonical("http", "h:80", "/", "", one), Canonical("https", "h", "/", "", one); a != b || a.Scheme != "https" {
		t.Errorf("one scheme for both: %v and %v", a, b)
	}
}

func TestHost(t *testing.T) {
	for _, tt := range []struct{ scheme, host, want string }{
		{"http", "H.Example", "h.example"},
		{"http", "h.example.", "h.example"},
		{"http", "h.example.:80", "h.example"},
		{"http", "h:", "h"},
		{"http", "h:443", "h:443"},
		{"https", "h:443", "h"},
		{"", "h:80", "h:80"},
		{"http", "[2001:DB8::1]:80", "[2001:db8::1]"},
		{"http", "[2001:db8::1]", "[2001:db8::1]"},
		{"http", "h:80:80", "h:80:80"},
		{"http", "h:80.", "h:80."},
		{"http", "b\u00fccher.example", "b\u00fccher.example"},
		{"http", "B\u00dcCHER.example", "b\u00dccher.example"}, // IDN is as it is: letters beyond ASCII have no case here
		{"http", "\u212aelvin.example", "\u212aelvin.example"},
		{"http", "", ""},
	} {
		if got := Host(tt.scheme, tt.host); got != tt.want {
			t.Errorf("Host(%q, %q) = %q, want %q", tt.scheme, tt.host, got, tt.want)
		}
	}
}

func TestLoosePath(t *testing.T) {
	for path, want := range map[string]string{
		"/a/b":                "/a/b",
		"/a/":                 "/a/",
		"/a/..%2Fb":           "/b",
		"/a/..%5Cb":           "/b",
		"/a/%252e%252e%252fb": "/b",
		"//a///b":             "/a/b",
		"/a;x=1/b;y":          "/a/b",
		"/a/..;/b":            "/b",
		"/a%3Fb":              "/a?b",
		"/a+b":                "/a+b",
		"/%25":                "/%",
		"/":                   "/",
		"//":                  "/",
	} {
		if got := Canonical("http", "h", path, "", site.Key{}).LoosePath(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestVary(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  string
		ok    bool
	}{
		{nil, "[]", true},
		{[]string{"Accept-Language, accept-encoding", "ACCEPT-ENCODING"}, "[accept-encoding accept-language]", true},
		{[]string{" , a ,,"}, "[a]", true},
		{[]string{"a, *"}, "[]", false},
		{[]string{"a b"}, "[]", false},
	} {
		got, ok := Vary(tt.lines)
		if fmt.Sprint(got) != tt.want || ok != tt.ok {
			t.Errorf("Vary(%q) = %v, %v", tt.lines, got, ok)
		}
	}
}

func TestNormalise(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"Accept-Encoding", "gzip, deflate, br;q=0.5", "br, gzip"},
		{"Accept-Encoding", "X-GZIP;q=1", "gzip"},
		{"Accept-Encoding", "gzip;q=0, identity", ""},
		{"Accept-Encoding", "*", "gzip"},
		{"Accept-Encoding", "gzip;q=2", ""},
		{"Accept-Encoding", "gzip;q=0.0001", ""},
		{"Accept-Encoding", "gzip;q=1e0", ""},
		{"Accept-Encoding", "gzip;q=0, *", ""},
		{"Accept-Encoding", "*;q=0, br", "br"},
		{"Accept-Encoding", "gzip;q=0, x-gzip", ""},
		{"Accept-Language", "de;q=0.5, EN", "en,de;q=0.9"},
		{"Accept-Language", "en,de;q=0.9", "en,de;q=0.9"},
		{"Accept-Language", "fr;q=0", ""},
	} {
		h := http.Header{tt.name: {tt.value}}
		Normalise(h)
		if got := h.Get(tt.name); got != tt.want {
			t.Errorf("%s: %q becomes %q, want %q", tt.name, tt.value, got, tt.want)
		}
	}
}

// TestVariantTellsValuesApart: only header fields that Vary names count, and no two lists of values are taken for one.
func TestVariantTellsValuesApart(t *testing.T) {
	primary := Canonical("http", "h", "/", "", site.Key{}).Key()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.SliceOfN(rapid.StringMatching(`[a-c,]{0,3}`), 0, 2), 2, 2)
		a, b := values.Draw(t, "a"), values.Draw(t, "b")
		h := func(v [][]string) http.Header { return http.Header{"X": v[0], "Y": v[1], "Z": {fmt.Sprint(v)}} }
		names := []string{"x", "y"}
		said := func(v [][]string) string { // lists of one field mean the same in one line and in several
			var s string
			for _, lines := range v {
				s += fmt.Sprintf("%v %q ", len(lines) > 0, strings.Split(strings.Join(lines, ","), ","))
			}
			return s
		}
		same := said(a) == said(b)
		if got := Variant(primary, names, h(a)) == Variant(primary, names, h(b)); got != same {
			t.Fatalf("%q and %q: same variant %v", a, b, got)
		}
	})
}

// pieces make paths, and pieces of queries, in which the same is said in different ways again and again.
var pathPieces = []string{"a", "%61", "A", "%41", "/", "//", "/.", "/..", "/%2e", "/%2E%2e", ".", "%2F", "%2f", ";", "%3B", "%", "%25", "+", "%20", " ", "\\", "%5c", "?", "#", "\xff", "%fF"}

var queryPieces = []string{"a", "%61", "b", "=", "%3D", "%3d", "&", "&&", "%26", "+", "%20", " ", "utm_x", "%75tm_x", ";", "%", "1", "?"}

func draw(t *rapid.T, name string, pieces []string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 7).Draw(t, name), "")
}

// atoms reads a URL part the slow way: one word for each byte, which tells whether a reserved one was encoded.
func atoms(s, bare string) []string {
	var out []string
	for i := 0; i < len(s); i++ {
		b, err := hex.DecodeString(s[i+1 : min(i+3, len(s))])
		if s[i] != '%' || err != nil || len(b) != 1 {
			b = []byte{s[i]}
			if strings.IndexByte(bare, s[i]) >= 0 {
				out = append(out, string(b)) // stands for itself
				continue
			}
		} else {
			i += 2
		}
		if c := rune(b[0]); c < 0x80 && (unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("-._~", c)) {
			out = append(out, string(c))
		} else {
			out = append(out, fmt.Sprintf("<%d>", c))
		}
	}
	return out
}

// meaning is what a URL says, worked out without any of the code under test: segments of the path, and for each name
// its list of values.
func meaning(path, query string, dropped func(string) bool) string {
	var segments []string
	whole := strings.Join(atoms(path, "!$&'()*+,;=:@/"), "\x00")
	all := strings.Split(whole, "/")
	for i, s := range all {
		s = strings.Trim(s, "\x00")
		plain := strings.ReplaceAll(s, "\x00", "")
		switch {
		case i == 0 && s == "": // before the first slash
		case plain == "." || plain == "..":
			if plain == ".." && len(segments) > 0 {
				segments = segments[:len(segments)-1]
			}
			if i == len(all)-1 {
				segments = append(segments, "")
			}
		default:
			segments = append(segments, s)
		}
	}
	if len(segments) == 0 {
		segments = []string{""}
	}
	params := map[string][]string{}
	for pair := range strings.SplitSeq(strings.Join(atoms(query, "!$&'()*+,;=:@/?"), "\x00"), "&") {
		pair = strings.Trim(pair, "\x00")
		if name, _, _ := strings.Cut(pair, "="); pair != "" && !dropped(strings.ReplaceAll(name, "\x00", "")) {
			params[strings.Trim(name, "\x00")] = append(params[strings.Trim(name, "\x00")], pair)
		}
	}
	return fmt.Sprintf("%q %q", segments, params)
}

// TestOneKeyOneMeaning: two URLs have one key exactly if they mean the same.
func TestOneKeyOneMeaning(t *testing.T) {
	rules := site.Key{DropQuery: []string{"utm_*"}}
	dropped := func(name string) bool { return strings.HasPrefix(name, "utm_") }
	rapid.Check(t, func(t *rapid.T) {
		p1, q1 := "/"+draw(t, "path", pathPieces), draw(t, "query", queryPieces)
		p2, q2 := "/"+draw(t, "other path", pathPieces), q1
		if rapid.Bool().Draw(t, "other query too") {
			p2, q2 = p1, draw(t, "other query", queryPieces)
		}
		same := Canonical("http", "h", p1, q1, rules).Key() == Canonical("http", "h", p2, q2, rules).Key()
		if want := meaning(p1, q1, dropped) == meaning(p2, q2, dropped); same != want {
			t.Fatalf("%q?%q and %q?%q: one key %v, one meaning %v (%s, %s)", p1, q1, p2, q2, same, want, meaning(p1, q1, dropped), meaning(p2, q2, dropped))
		}
	})
}

// TestPlainIsCanonical: where Plain answers, it answers as Canonical does, and it answers for every canonical URL whose
// parameters all count.
func TestPlainIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := site.Key{
			DropQuery: rapid.SampledFrom([][]string{nil, {"utm_*"}}).Draw(t, "drop"),
			KeepQuery: rapid.SampledFrom([][]string{nil, {"a", "b", "utm_*"}}).Draw(t, "keep"),
			Unsorted:  rapid.Bool().Draw(t, "unsorted"), Scheme: rapid.SampledFrom([]string{"", "https"}).Draw(t, "scheme"),
		}
		path, query := "/"+draw(t, "path", pathPieces), draw(t, "query", queryPieces)
		path = strings.ReplaceAll(path, "?", "")
		target := path
		if query != "" {
			target += "?" + query
		}
		u := Canonical("http", "h", path, query, rules)
		k, ok := Plain("http", "h", []byte(target), &rules)
		if ok && k != u.Key() {
			t.Fatalf("%q with %+v: another key than that of %s", target, rules, u)
		}
		again := []byte(u.RequestURI())
		if k, ok := Plain("http", "h", again, &rules); !strings.Contains(string(again), "%") && !strings.Contains(string(again), "/.") && !strings.Contains(u.Query, "+") && (!ok || k != u.Key()) {
			t.Fatalf("canonical %q with %+v: plain %v", again, rules, ok)
		}
	})
}

func TestPlainDoesNotAllocate(t *testing.T) {
	rules := &site.Key{DropQuery: []string{"utm_*", "fbclid"}}
	target := []byte("/assets/app/main.css?lang=de&v=12")
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := Plain("http", "www.shop.example", target, rules); !ok {
			t.Fatal("not plain")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if _, ok := Plain("http", "h", []byte("/"+strings.Repeat("a", maxPlain)), rules); ok {
		t.Error("a URL that is too long is plain")
	}
}

func BenchmarkKey(b *testing.B) {
	rules := site.Key{DropQuery: []string{"utm_*", "fbclid", "gclid"}}
	b.Run("plain", func(b *testing.B) {
		target := []byte("/assets/app/main.css?lang=de&v=12")
		b.ReportAllocs()
		for b.Loop() {
			Plain("http", "www.shop.example", target, &rules)
		}
	})
	b.Run("canonical", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Canonical("http", "www.shop.example", "/assets/app/main.css", "v=12&utm_source=x&lang=de", rules).Key()
		}
	})
}

func FuzzCanonical(f *testing.F) {
	f.Add("http", "h:80", "/a/%2e./b%", "b=1&&a=%41&utm_x")
	f.Add("https", "", "", "?&=&%")
	f.Add("http", "a.:", "/..;/%2f\\", "a+b=%zz")
	f.Fuzz(func(t *testing.T, scheme, host, path, query string) {
		rules := site.Key{DropQuery: []string{"utm_*", "x"}}
		once := Canonical(scheme, host, path, query, rules)
		if again := Canonical(once.Scheme, once.Host, once.Path, once.Query, rules); again != once {
			t.Errorf("canonical form of %+v is %+v", once, again)
		}
		if !strings.HasPrefix(once.Path, "/") || strings.ContainsAny(once.Path+once.Query, " \r\n#\x00") {
			t.Errorf("canonical form %+v may not go on the wire", once)
		}
		if loose := once.LoosePath(); !strings.HasPrefix(loose, "/") || strings.Contains(loose, "/../") {
			t.Errorf("%q, read loosely, is %q", once.Path, loose)
		}
	})
}

func FuzzVary(f *testing.F) {
	f.Add("Accept, *", "gzip;q=0.5, br", "de-DE, en;q=0.7")
	f.Add("a b,\x00", ";;q=1,=", "*;q=0.001")
	f.Fuzz(func(t *testing.T, vary, encodings, languages string) {
		names, ok := Vary([]string{vary})
		for _, n := range names {
			if !ok || n == "*" || n != strings.ToLower(n) || strings.ContainsAny(n, ", \r\n\x00") {
				t.Errorf("Vary %q names %q", vary, n)
			}
		}
		h := http.Header{"Accept-Encoding": {encodings}, "Accept-Language": {languages}}
		Normalise(h)
		once := h.Clone()
		Normalise(h)
		if fmt.Sprint(h) != fmt.Sprint(once) {
			t.Errorf("%v, normalised again, is %v", once, h)
		}
	})
}
