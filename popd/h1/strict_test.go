package h1_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/popd/h1"
)

// rule is one thing that a request may not do, with the section that says so: of RFC 9112 unless another is named.
type rule struct {
	name, section, request string
	status                 string // "" means that the Handler answers
}

const host = "Host: a\r\n"

func rules() []rule {
	get := "GET / HTTP/1.1\r\n" + host
	post := "POST / HTTP/1.1\r\n" + host
	return []rule{
		{"a plain request", "3", get + "\r\n", ""},
		{"one empty line before it", "2.2", "\r\n" + get + "\r\n", ""},
		{"two empty lines before it", "2.2", "\r\n\r\n" + get + "\r\n", "400"},
		{"bare LF after the request line", "2.2", "GET / HTTP/1.1\n" + host + "\r\n", "400"},
		{"bare LF after a field", "2.2", "GET / HTTP/1.1\r\nHost: a\n\r\n", "400"},
		{"bare LF at the end", "2.2", get + "\n", "400"},
		{"bare CR in a value", "2.2", get + "X: a\rb\r\n\r\n", "400"},
		{"bare CR in the target", "2.2", "GET /\rb HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"two spaces", "3", "GET  / HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"a tab", "3", "GET\t/ HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"space at the end", "3", "GET / HTTP/1.1 \r\n" + host + "\r\n", "400"},
		{"space before", "3", " GET / HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"space in the target", "3.2", "GET /a b HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"no version (HTTP/0.9)", "3", "GET /\r\n\r\n", "400"},
		{"no target", "3", "GET HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"method is no token", "3.1", "G(T / HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"lower-case http", "2.3", "GET / http/1.1\r\n" + host + "\r\n", "400"},
		{"HTTP/1.2", "2.3", "GET / HTTP/1.2\r\n" + host + "\r\n", "505"},
		{"HTTP/2.0", "2.3", "GET / HTTP/2.0\r\n" + host + "\r\n", "505"},
		{"HTTP/01.1", "2.3", "GET / HTTP/01.1\r\n" + host + "\r\n", "400"},
		{"HTTP/1.10", "2.3", "GET / HTTP/1.10\r\n" + host + "\r\n", "400"},
		{"fragment in the target", "3.2", "GET /#a HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"NUL in the target", "3.2", "GET /\x00 HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"target without a slash", "3.2", "GET a HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"asterisk with GET", "3.2.4", "GET * HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"asterisk with OPTIONS", "3.2.4", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", ""},
		{"authority with GET", "3.2.3", "GET a:80 HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"CONNECT to a path", "3.2.3", "CONNECT / HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"CONNECT without a port", "3.2.3", "CONNECT a HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"absolute form", "3.2.2", "GET http://a/ HTTP/1.1\r\n" + host + "\r\n", ""},
		{"absolute form of another scheme", "3.2.2", "GET ftp://a/ HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"absolute form without a host", "3.2.2", "GET http:///x HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"absolute form with a user", "RFC 9110 4.2.4", "GET http://u@a/ HTTP/1.1\r\n" + host + "\r\n", "400"},
		{"absolute form, two Hosts", "3.2", "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
		{"absolute form without Host", "3.2", "GET http://a/ HTTP/1.1\r\n\r\n", "400"},
		{"no Host", "3.2", "GET / HTTP/1.1\r\n\r\n", "400"},
		{"no Host in HTTP/1.0", "3.2", "GET / HTTP/1.0\r\n\r\n", ""},
		{"two Hosts", "3.2", get + "Host: b\r\n\r\n", "400"},
		{"the same Host twice", "3.2", get + host + "\r\n", "400"},
		{"Host with a path", "3.2", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"},
		{"Host with a user", "3.2", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"},
		{"Host with a list", "3.2", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"},
		{"Host with a bad port", "3.2", "GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", "400"},
		{"Host with a port too large", "3.2", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "400"},
		{"Host with a signed port", "3.2", "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", "400"},
		{"Host with a port alone", "3.2", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", "400"},
		{"Host in brackets", "3.2", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", ""},
		{"Host in half a bracket", "3.2", "GET / HTTP/1.1\r\nHost: [2001:db8::1\r\n\r\n", "400"},
		{"Host with an encoding", "3.2", "GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", "400"},
		{"space before the colon", "5.1", get + "X : a\r\n\r\n", "400"},
		{"space before the colon of Content-Length", "5.1", post + "Content-Length : 5\r\n\r\nhello", "400"},
		{"folded line", "5.2", get + "X: a\r\n b\r\n\r\n", "400"},
		{"folded line with a tab", "5.2", get + "X: a\r\n\tb\r\n\r\n", "400"},
		{"folded first line", "2.2", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400"},
		{"field without a colon", "5", get + "X\r\n\r\n", "400"},
		{"field without a name", "5", get + ": a\r\n\r\n", "400"},
		{"name is no token", "5", get + "X(Y: a\r\n\r\n", "400"},
		{"name with a NUL", "5", get + "X\x00: a\r\n\r\n", "400"},
		{"value with a NUL", "RFC 9110 5.5", get + "X: a\x00b\r\n\r\n", "400"},
		{"value with a control character", "RFC 9110 5.5", get + "X: a\x01b\r\n\r\n", "400"},
		{"value with DEL", "RFC 9110 5.5", get + "X: a\x7fb\r\n\r\n", "400"},
		{"value with obs-text", "RFC 9110 5.5", get + "X: \xe4\r\n\r\n", ""},
		{"Content-Length and Transfer-Encoding (CL.TE)", "6.1", post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"Transfer-Encoding and Content-Length (TE.CL)", "6.1", post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", "400"},
		{"two Transfer-Encodings (TE.TE)", "6.1", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "400"},
		{"chunked twice", "6.1", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400"},
		{"gzip, chunked", "6.1", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"},
		{"unknown coding", "6.1", post + "Transfer-Encoding: gzip\r\n\r\n", "501"},
		{"xchunked", "6.1", post + "Transfer-Encoding: xchunked\r\n\r\n", "501"},
		{"identity", "6.1", post + "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n", "400"},
		{"quoted chunked", "6.1", post + "Transfer-Encoding: \"chunked\"\r\n\r\n", "501"},
		{"chunked with a vertical tab", "6.1", post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "400"},
		{"empty Transfer-Encoding", "6.1", post + "Transfer-Encoding:\r\n\r\n", "400"},
		{"Transfer-Encoding in HTTP/1.0", "6.1", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"CHUNKED", "6.1", post + "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", ""},
		{"two Content-Lengths", "6.3", post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"},
		{"the same Content-Length twice", "6.3", post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "400"},
		{"a list of Content-Lengths", "6.3", post + "Content-Length: 5, 5\r\n\r\nhello", "400"},
		{"signed Content-Length", "6.3", post + "Content-Length: +5\r\n\r\nhello", "400"},
		{"negative Content-Length", "6.3", post + "Content-Length: -1\r\n\r\n", "400"},
		{"hexadecimal Content-Length", "6.3", post + "Content-Length: 0x5\r\n\r\nhello", "400"},
		{"Content-Length with an underscore", "6.3", post + "Content-Length: 1_0\r\n\r\nhello", "400"},
		{"empty Content-Length", "6.3", post + "Content-Length: \r\n\r\n", "400"},
		{"Content-Length beyond 2^63", "6.3", post + "Content-Length: 9223372036854775808\r\n\r\n", "400"},
		{"unknown expectation", "RFC 9110 10.1.1", post + "Expect: the-impossible\r\nContent-Length: 0\r\n\r\n", "417"},
		{"two expectations", "RFC 9110 10.1.1", post + "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", "417"},
		{"long request line", "3", "GET /" + strings.Repeat("a", 16<<10) + " HTTP/1.1\r\n" + host + "\r\n", "414"},
		{"endless request line", "3", "GET /" + strings.Repeat("a", 40<<10), "414"},
		{"long field", "RFC 6585 5", get + "X: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "431"},
		{"many fields", "RFC 6585 5", get + strings.Repeat("X: a\r\n", 128) + "\r\n", "431"},
		{"127 fields", "RFC 6585 5", get + strings.Repeat("X: a\r\n", 127) + "\r\n", ""},
		{"a target that is no URL", "3.2", "GET /%zz HTTP/1.1\r\n" + host + "\r\n", "400"},
	}
}

// TestWhatIsRefused: each with the connection closed, and nothing after it answered: the second request in the same
// bytes is what a smuggler wants to have read.
func TestWhatIsRefused(t *testing.T) {
	var got seen
	addr := serve(t, h1.Options{}, h1.Binding{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got.add(r.URL.Path) })})
	for _, tt := range rules() {
		text := talk(t, addr, tt.request+"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
		handled := got.take()
		status := strings.Fields(text + " - - ")[1]
		if tt.status == "" {
			if status != "200" {
				t.Errorf("%s (%s): status %s, want it taken", tt.name, tt.section, status)
			}
			continue
		}
		if status != tt.status || len(handled) > 0 || strings.Count(text, "\r\n\r\n") != 1 || !strings.Contains(text, "Connection: close") {
			t.Errorf("%s (%s): handled %q, answered %q; want %s and the end", tt.name, tt.section, handled, text, tt.status)
		}
	}
}

// TestBrokenChunks (RFC 9112 §7.1): the Handler learns that the body is broken, and nothing after it is a request.
func TestBrokenChunks(t *testing.T) {
	var got seen
	addr := serve(t, h1.Options{}, h1.Binding{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got.add(r.Method + " " + strings.SplitN(describe(r), "\n", 3)[1])
	})})
	for name, body := range map[string]string{
		"no size":                      "\r\nhello\r\n0\r\n\r\n",
		"size is no number":            "x\r\nhello\r\n0\r\n\r\n",
		"size with 0x":                 "0x5\r\nhello\r\n0\r\n\r\n",
		"signed size":                  "+5\r\nhello\r\n0\r\n\r\n",
		"size with an underscore":      "1_0\r\nhello\r\n0\r\n\r\n",
		"size of 16 digits":            "0000000000000005\r\nhello\r\n0\r\n\r\n",
		"size beyond 2^63":             "fffffffffffffffff\r\nhello",
		"space before the size":        " 5\r\nhello\r\n0\r\n\r\n",
		"bare LF after the size":       "5\nhello\r\n0\r\n\r\n",
		"bare LF after the chunk":      "5\r\nhello\n0\r\n\r\n",
		"bare CR after the size":       "5\rhello\r\n0\r\n\r\n",
		"chunk longer than its size":   "4\r\nhello\r\n0\r\n\r\n",
		"chunk shorter than its size":  "6\r\nhello\r\n0\r\n\r\n",
		"bare LF in an extension":      "5;a\nb\r\nhello\r\n0\r\n\r\n",
		"NUL in an extension":          "5;a=\x00\r\nhello\r\n0\r\n\r\n",
		"huge extension":               "5;" + strings.Repeat("a", 5<<10) + "\r\nhello\r\n0\r\n\r\n",
		"many extensions":              strings.Repeat("1;"+strings.Repeat("a", 1<<10)+"\r\nh\r\n", 40) + "0\r\n\r\n",
		"bare LF in the trailer":       "0\r\nX: a\n\r\n",
		"folded trailer":               "0\r\nX: a\r\n b\r\n\r\n",
		"trailer without a colon":      "0\r\nX\r\n\r\n",
		"space before a colon":         "0\r\nX : a\r\n\r\n",
		"huge trailer":                 "0\r\n" + strings.Repeat("X: "+strings.Repeat("a", 1<<10)+"\r\n", 9) + "\r\n",
		"end without an empty line":    "0\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n",
		"end of the connection inside": "5\r\nhe",
	} {
		text := talk(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+body+"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
		if handled := got.take(); len(handled) != 1 || handled[0] != "POST body broken" {
			t.Errorf("%s: the Handler saw %q, want one broken body; answered %q", name, handled, text)
		}
	}
}

// TestTrailerFieldsThatFrameOrRouteAreDropped (RFC 9110 §6.5.1).
func TestTrailerFieldsThatFrameOrRouteAreDropped(t *testing.T) {
	var got seen
	addr := serve(t, h1.Options{}, h1.Binding{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got.add(describe(r)) })})
	talk(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\nHost: b\r\nContent-Length: 5\r\nAuthorization: x\r\n\r\n")
	if text := strings.Join(got.take(), ""); !strings.Contains(text, `trailer X-Sum=["1"]`) || strings.Count(text, "trailer ") != 1 {
		t.Errorf("the Handler saw %s", text)
	}
}
