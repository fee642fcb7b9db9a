package containerlab

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The topology file is written, never read, so it needs no YAML library: a handful of shapes, in the order in which a
// person would write them.
type (
	// pairs is a map in its written order.
	pairs []pair
	pair  struct {
		key   string
		value any // pairs, list, inline, string, int or bool
	}
	// list has an item a line, inline all on one line.
	list   []any
	inline []string
)

// set appends a pair.
func (p *pairs) set(key string, value any) { *p = append(*p, pair{key, value}) }

// setSome appends a pair unless its value is empty.
func (p *pairs) setSome(key string, value any) {
	switch v := value.(type) {
	case string:
		if v == "" {
			return
		}
	case pairs:
		if len(v) == 0 {
			return
		}
	case list:
		if len(v) == 0 {
			return
		}
	case inline:
		if len(v) == 0 {
			return
		}
	}
	p.set(key, value)
}

// document writes a whole file.
func document(p pairs) string {
	var b strings.Builder
	writePairs(&b, p, 0)
	return b.String()
}

func writePairs(b *strings.Builder, p pairs, depth int) {
	for i, e := range p {
		if depth == 0 && i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "%s%s:", strings.Repeat("  ", depth), scalar(e.key))
		writeValue(b, e.value, depth+1)
	}
}

func writeValue(b *strings.Builder, value any, depth int) {
	switch v := value.(type) {
	case pairs:
		b.WriteByte('\n')
		writePairs(b, v, depth)
	case list:
		b.WriteByte('\n')
		for _, item := range v {
			writeItem(b, item, depth)
		}
	default:
		fmt.Fprintf(b, " %s\n", flow(v))
	}
}

// writeItem puts the first pair of a map beside the dash.
func writeItem(b *strings.Builder, item any, depth int) {
	indent := strings.Repeat("  ", depth)
	p, ok := item.(pairs)
	if !ok {
		fmt.Fprintf(b, "%s- %s\n", indent, flow(item))
		return
	}
	var inner strings.Builder
	writePairs(&inner, p, depth+1)
	b.WriteString(indent + "- " + strings.TrimPrefix(inner.String(), indent+"  "))
}

// flow is a value on one line.
func flow(value any) string {
	switch v := value.(type) {
	case inline:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = scalar(w)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case string:
		return scalar(v)
	default:
		return fmt.Sprint(v)
	}
}

// plain is a string that means itself without quotes, in a block and between brackets. What YAML 1.1 takes for a number,
// a boolean, a time or nothing is quoted; so is all that holds a sign that could mean something.
var plain = regexp.MustCompile(`^[A-Za-z_/$][A-Za-z0-9_./$-]*$`)

func scalar(s string) string {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~":
		return strconv.Quote(s)
	}
	if plain.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}
