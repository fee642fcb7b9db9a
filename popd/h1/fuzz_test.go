package h1_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/popd/h1"
)

// FuzzLoop sends any bytes. Whatever comes, each answer can be read, the connection ends, and the first request that the
// Handler sees is the one that net/http reads in the same bytes.
func FuzzLoop(f *testing.F) {
	for _, tt := range rules() {
		if len(tt.request) < 1<<10 {
			f.Add([]byte(tt.request))
		}
	}
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\nGET /b HTTP/1.0\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	var got seen
	s, err := h1.New(h1.Options{})
	if err != nil {
		f.Fatal(err)
	}
	addr := run(f, s, h1.Binding{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.add(describe(r))
		_, _ = io.WriteString(w, "hello")
	})})
	f.Fuzz(func(t *testing.T, text []byte) {
		said := talk(t, addr, string(text))
		handled := got.take()
		methods := make([]string, len(handled))
		for i, h := range handled {
			methods[i], _, _ = strings.Cut(h, " ")
		}
		for _, a := range answers(said, methods) {
			if strings.HasPrefix(a, "unreadable") {
				t.Errorf("%q: answered %q: %s", text, said, a)
			}
		}
		if len(handled) == 0 {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.TrimPrefix(string(text), "\r\n"))))
		if err != nil {
			t.Fatalf("%q: the Handler saw %s, net/http refuses it: %v", text, handled[0], err)
		}
		if want := describe(r); want != handled[0] {
			t.Errorf("%q: the Handler saw\n%s, net/http reads\n%s", text, handled[0], want)
		}
	})
}
