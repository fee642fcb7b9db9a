package key

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

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
		same := fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b)
		if got := Variant(primary, names, h(a)) == Variant(primary, names, h(b)); got != same {
			t.Fatalf("%q and %q: same variant %v", a, b, got)
		}
	})
}

func FuzzCanonical(f *testing.F) {
	f.Add("http", "h:80", "/a/%2e./b%", "b=1&&a=%41&utm_x")
	f.Add("https", "", "", "?&=&%")
	f.Fuzz(func(t *testing.T, scheme, host, path, query string) {
		drop := site.Key{DropQuery: []string{"utm_*", "x"}}
		once := Canonical(scheme, host, path, query, drop)
		if again := Canonical(once.Scheme, once.Host, once.Path, once.Query, drop); again != once {
			t.Errorf("canonical form of %+v is %+v", once, again)
		}
		if !strings.HasPrefix(once.Path, "/") || strings.ContainsAny(once.Path+once.Query, " \r\n#\x00") {
			t.Errorf("canonical form %+v may not go on the wire", once)
		}
	})
}
