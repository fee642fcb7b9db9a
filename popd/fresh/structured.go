package fresh

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// Structured fields (RFC 9651) as far as caches meet them: the dictionary of a targeted field, and lists of strings.
// One mistake spoils a whole field (RFC 9651 §4.2).

// itemKind is the type of a bare item.
type itemKind uint8

const (
	sfInteger itemKind = iota + 1
	sfDecimal
	sfString
	sfToken
	sfBytes
	sfBoolean
	sfDate
	sfDisplay
	sfInnerList
)

// item is a bare item; integer is also a boolean's 0 or 1.
type item struct {
	kind    itemKind
	integer int64
	text    string
}

// sfParser reads a field value from left to right.
type sfParser struct {
	s      string
	failed bool
}

// parseTargeted reads a targeted field (RFC 9213 §2.1): a dictionary in which flags are Booleans, seconds Integers and
// lists of field names Strings. A directive of another type is left out. It is not ok if the field is empty or broken.
func parseTargeted(lines []string) (d Directives, ok bool) {
	members, ok := parseDictionary(strings.Join(lines, ","))
	if !ok || len(members) == 0 {
		return Directives{}, false
	}
	d.Targeted = true
	for name, v := range members {
		switch {
		case delta[name]:
			if v.kind == sfInteger && v.integer >= 0 {
				d.add(name, strconv.FormatInt(v.integer, 10), true)
			}
		case v.kind == sfBoolean:
			if v.integer == 1 {
				d.add(name, "", false)
			}
		case v.kind == sfString && (name == "private" || name == "no-cache"):
			d.add(name, v.text, true)
		}
	}
	return d, true
}

// parseDictionary reads a dictionary (RFC 9651 §4.2.2): of a key that is there twice the last one counts. Parameters
// are read and dropped.
func parseDictionary(s string) (members map[string]item, ok bool) {
	p := &sfParser{s: strings.Trim(s, " ")}
	members = map[string]item{}
	for p.s != "" {
		name := p.key()
		if p.take('=') {
			members[name] = p.itemOrInnerList()
		} else {
			members[name] = item{kind: sfBoolean, integer: 1}
			p.parameters()
		}
		if !p.next() {
			return nil, false
		}
	}
	return members, true
}

// ParseStrings reads a list of strings (RFC 9651 §4.2.1), as Cache-Groups is (RFC 9875 §2). It is not ok if the field
// is broken or holds anything else.
func ParseStrings(lines []string) (all []string, ok bool) {
	p := &sfParser{s: strings.Trim(strings.Join(lines, ","), " ")}
	for p.s != "" {
		v := p.itemOrInnerList()
		if v.kind != sfString {
			return nil, false
		}
		all = append(all, v.text)
		if !p.next() {
			return nil, false
		}
	}
	return all, true
}

// next goes on to the next member of a list or dictionary; false if there is a mistake, a comma at the end among them.
func (p *sfParser) next() bool {
	p.s = strings.TrimLeft(p.s, " \t")
	if p.failed || p.s == "" {
		return !p.failed
	}
	if !p.take(',') {
		return false
	}
	p.s = strings.TrimLeft(p.s, " \t")
	return p.s != ""
}

func (p *sfParser) take(c byte) bool {
	if p.s != "" && p.s[0] == c {
		p.s = p.s[1:]
		return true
	}
	return false
}

func (p *sfParser) fail() item {
	p.failed, p.s = true, ""
	return item{}
}

// span cuts off the longest run of bytes that in accepts.
func (p *sfParser) span(in func(byte) bool) string {
	n := 0
	for n < len(p.s) && in(p.s[n]) {
		n++
	}
	run := p.s[:n]
	p.s = p.s[n:]
	return run
}

func (p *sfParser) key() string {
	if p.s == "" || p.s[0] != '*' && (p.s[0] < 'a' || p.s[0] > 'z') {
		p.fail()
		return ""
	}
	return p.span(func(c byte) bool {
		return 'a' <= c && c <= 'z' || isDigit(c) || strings.IndexByte("_-.*", c) >= 0
	})
}

func (p *sfParser) parameters() {
	for p.take(';') {
		p.s = strings.TrimLeft(p.s, " ")
		p.key()
		if p.take('=') {
			p.bare()
		}
	}
}

func (p *sfParser) itemOrInnerList() item {
	v := item{kind: sfInnerList}
	if p.take('(') {
		p.innerList()
	} else {
		v = p.bare()
	}
	p.parameters()
	return v
}

func (p *sfParser) innerList() {
	for {
		p.s = strings.TrimLeft(p.s, " ")
		if p.take(')') {
			return
		}
		p.bare()
		p.parameters()
		if p.failed || p.s == "" || p.s[0] != ' ' && p.s[0] != ')' {
			p.fail()
			return
		}
	}
}

// bare reads a bare item (RFC 9651 §4.2.3.1).
func (p *sfParser) bare() item {
	if p.s == "" {
		return p.fail()
	}
	switch c := p.s[0]; {
	case c == '-' || isDigit(c):
		return p.number()
	case c == '"':
		return p.quoted(sfString)
	case c == '*' || isAlpha(c):
		return item{kind: sfToken, text: p.span(func(c byte) bool { return isTokenByte(c) || c == ':' || c == '/' })}
	case c == ':':
		return p.bytes()
	case c == '?':
		return p.boolean()
	case c == '@':
		p.s = p.s[1:]
		if v := p.number(); v.kind == sfInteger {
			return item{kind: sfDate, integer: v.integer}
		}
	case strings.HasPrefix(p.s, `%"`):
		p.s = p.s[1:]
		return p.quoted(sfDisplay)
	}
	return p.fail()
}

// number: at most 15 digits, or 12 before and 3 after a point (RFC 9651 §4.2.4).
func (p *sfParser) number() item {
	minus := p.take('-')
	digits := p.span(isDigit)
	if digits == "" {
		return p.fail()
	}
	if p.take('.') {
		if fraction := p.span(isDigit); len(digits) > 12 || fraction == "" || len(fraction) > 3 {
			return p.fail()
		}
		return item{kind: sfDecimal}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if len(digits) > 15 || err != nil {
		return p.fail()
	}
	if minus {
		n = -n
	}
	return item{kind: sfInteger, integer: n}
}

// quoted reads a string, or a display string, whose text is of no use here.
func (p *sfParser) quoted(kind itemKind) item {
	var b strings.Builder
	for i := 1; i < len(p.s); i++ {
		c := p.s[i]
		switch {
		case c == '"':
			p.s = p.s[i+1:]
			return item{kind: kind, text: b.String()}
		case c < ' ' || c > '~':
			return p.fail()
		case kind == sfDisplay && c == '%':
			if i+2 >= len(p.s) || !isLowerHex(p.s[i+1]) || !isLowerHex(p.s[i+2]) {
				return p.fail()
			}
		case kind == sfString && c == '\\':
			if i++; i == len(p.s) || p.s[i] != '"' && p.s[i] != '\\' {
				return p.fail()
			}
			c = p.s[i]
		}
		b.WriteByte(c)
	}
	return p.fail()
}

func (p *sfParser) bytes() item {
	text, rest, closed := strings.Cut(p.s[1:], ":")
	if _, err := base64.StdEncoding.DecodeString(text); !closed || err != nil {
		return p.fail()
	}
	p.s = rest
	return item{kind: sfBytes}
}

func (p *sfParser) boolean() item {
	if len(p.s) < 2 || p.s[1] != '0' && p.s[1] != '1' {
		return p.fail()
	}
	v := item{kind: sfBoolean, integer: int64(p.s[1] - '0')}
	p.s = p.s[2:]
	return v
}

func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool    { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isLowerHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }
