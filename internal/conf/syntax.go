package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// yamlPlace is what the YAML library puts before its message. The line is that of the construct, counted from 0 or 1
// depending on the part that found the error, or missing: so we look for the place ourselves.
var yamlPlace = regexp.MustCompile(`^yaml: (line \d+: )?`)

// syntax records an error of the YAML library at the character where the library noticed it.
func (d *Doc) syntax(err error) {
	message := bare(err)
	line, col, at := d.locate(message)
	what, fix := explain(message, d.text[at:])
	d.Fail(line, col, what, fix)
}

// bare is the library's message without its place.
func bare(err error) string { return yamlPlace.ReplaceAllString(err.Error(), "") }

// searchBudget is how many bytes locate parses again at most: well under a second.
const searchBudget = 16 << 20

// locate finds where the error begins: the library stops reading a few tokens behind it, and from there we go back, by
// lines and then by bytes, as long as the text cut off there still fails in this way. A bracket or quote that is never
// closed is so found at its opening.
func (d *Doc) locate(message string) (line, col, at int) {
	budget := searchBudget
	fails := func(n int) bool {
		budget -= n
		return budget > 0 && decodeAll(bytes.NewReader(d.text[:n])) == message
	}
	count := &byteCounter{text: d.text}
	decodeAll(count)
	ends := lineEnds(d.text)
	i := 0
	for i < len(ends)-1 && ends[i] < count.off {
		i++
	}
	n := count.off
	for i > 0 && fails(ends[i-1]) {
		i--
		n = ends[i]
	}
	start := 0
	if i > 0 {
		start = ends[i-1]
	}
	for n > start+1 && fails(n-1) {
		n--
	}
	mark := max(start, n-1)
	for mark > start && (!utf8.RuneStart(d.text[mark]) || d.text[mark] == '\n' || d.text[mark] == '\r') {
		mark--
	}
	return i + 1, utf8.RuneCount(d.text[start:mark]) + 1, mark
}

// decodeAll is the library's message for a text, "" if it has none.
func decodeAll(r io.Reader) string {
	dec := yaml.NewDecoder(r)
	for {
		var node yaml.Node
		switch err := dec.Decode(&node); {
		case errors.Is(err, io.EOF):
			return ""
		case err != nil:
			return bare(err)
		}
	}
}

// byteCounter hands out a text byte by byte and so knows how far its reader has got.
type byteCounter struct {
	text []byte
	off  int
}

// Read implements io.Reader.
func (c *byteCounter) Read(p []byte) (int, error) {
	if c.off == len(c.text) {
		return 0, io.EOF
	}
	n := copy(p[:min(1, len(p))], c.text[c.off:])
	c.off += n
	return n, nil
}

// lineEnds lists the offset after each line's newline; a last line without one counts.
func lineEnds(text []byte) []int {
	var ends []int
	for i, b := range text {
		if b == '\n' {
			ends = append(ends, i+1)
		}
	}
	if len(ends) == 0 || ends[len(ends)-1] != len(text) {
		ends = append(ends, len(text))
	}
	return ends
}

// explain says in the words of someone who edits a file what the library says in those of its grammar. at is the text
// from the place on.
func explain(message string, at []byte) (what, fix string) {
	first, size := utf8.DecodeRune(at)
	switch {
	case strings.Contains(message, "cannot start any token"):
		if first == '\t' {
			return "a tab is used for indentation", "use spaces"
		}
		return fmt.Sprintf("a value cannot begin with %q", first), "put the value in quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		return "a second `key:` in one line, or a line indented too far", "quote a value that holds `: `, or line the key up with its neighbours"
	case strings.Contains(message, "node content"):
		if bytes.HasPrefix(at[min(size, len(at)):], []byte(":")) || first == ':' {
			return "text inside brackets cannot begin with `:`", "put it in quotes, or write 0:: for ::"
		}
		return "a value is missing before this place", "complete the list or map, or close its bracket"
	case strings.Contains(message, "',' or '}'"):
		return "a map opened with `{` is not closed", "add `,` between its entries or `}` at its end; text with brackets or `?` in it needs quotes"
	case strings.Contains(message, "',' or ']'"):
		return "a list opened with `[` is not closed", "add `,` between its items or `]` at its end; text with brackets or `?` in it needs quotes"
	case strings.Contains(message, "'-' indicator"):
		return "a line inside a list does not begin with `- `", "begin it with `- `, or indent it like the key that it belongs to"
	case strings.Contains(message, "did not find expected key"):
		return "this line does not line up with the keys above", "indent it as they are"
	case strings.Contains(message, "expected <document start>"):
		return "this line is indented less than the first one", "line the top keys up"
	case strings.Contains(message, "could not find expected ':'"):
		return "a line without `:`", "write `key: value`"
	case strings.Contains(message, "unexpected end of stream"):
		return "text in quotes is not closed", "add the closing quote"
	case strings.Contains(message, "unknown anchor"), strings.Contains(message, "alphabetic or numeric character"):
		return "a value that begins with `*` or `&` is not plain text", "put it in quotes"
	case strings.Contains(message, "unknown escape character"):
		return "a backslash sequence in double quotes is unknown", "double the backslash, or use single quotes"
	}
	return "syntax: " + message, "check the indentation, quotes and brackets around here"
}
