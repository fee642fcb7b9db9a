package origin

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Verify reports whether body and header are the one right answer to a GET of u by the client whose cookie was
// clientID; nil says that they are. The error says what is wrong in the words of a report: the first wrong byte, a
// missing end, or whose private answer this is. It knows answers with status 200 only.
func Verify(u *url.URL, header http.Header, body []byte, clientID string) error {
	w, err := parse(u, clientID)
	if err != nil {
		return fmt.Errorf("verify %q: %w", u, err)
	}
	for _, c := range (&http.Response{Header: header}).Cookies() {
		if c.Name != cookieName {
			continue
		}
		if w.owner == "" {
			return fmt.Errorf("shared answer for %q sets the cookie of %q", u.Path, c.Value)
		}
		if c.Value != w.owner {
			return fmt.Errorf("private answer for %q sets the cookie of %q, asked by %q", u.Path, c.Value, w.owner)
		}
	}
	if other, is := ownerOf(body, w.path); w.owner != "" && is && other != w.owner {
		return fmt.Errorf("private answer of %q for %q reached %q", other, u.Path, w.owner)
	}
	return compare(w, body)
}

// ownerOf reads the first line of a private body.
func ownerOf(body []byte, path string) (string, bool) {
	line, _, found := bytes.Cut(body[:min(len(body), 512)], []byte("\n"))
	rest, ok := strings.CutPrefix(string(line), path+" for ")
	owner, is := strings.CutSuffix(rest, " only")
	return owner, found && ok && is
}

// compare checks every byte, a piece at a time.
func compare(w wanted, body []byte) error {
	want := newBody(w.path, w.size, w.owner)
	var piece [4096]byte
	for at := 0; at < len(body) && int64(at) < w.size; at += len(piece) {
		n := min(len(piece), len(body)-at, int(w.size)-at)
		want.fill(piece[:n], int64(at))
		if bytes.Equal(piece[:n], body[at:at+n]) {
			continue
		}
		for i := range n {
			if piece[i] != body[at+i] {
				return fmt.Errorf("body of %q: byte %d of %d is %q, want %q", w.path, at+i, w.size, body[at+i], piece[i])
			}
		}
	}
	if int64(len(body)) != w.size {
		return fmt.Errorf("body of %q has %d bytes, want %d", w.path, len(body), w.size)
	}
	return nil
}
