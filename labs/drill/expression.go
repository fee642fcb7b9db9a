package drill

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The grammar of an expectation and of a let:
//
//	comparison = term op term        op = "==" "!=" "<" "<=" ">" ">="
//	term       = NUMBER | DURATION | SHARE | NAME | NAME "(" [ argument { "," argument } ] ")"
//	argument   = NAME | "*"
//
// DURATION is as Go writes it: 100ms, 1.5s, 1m30s. SHARE is a number from 0 to 100 and "%". NAME is a letter and then letters, digits, "_", "-" or "." (of a host).

// what a node is.
type nodeKind uint8

const (
	numberNode nodeKind = iota
	durationNode
	shareNode // a percentage
	nameNode  // a POP, a let, a count, or an argument
	callNode
	compareNode
)

// node is a part of an expression. col is its place in the text, from 0, in bytes.
type node struct {
	kind nodeKind
	text string // the name, the function, the operator, or the literal
	col  int
	num  float64       // of a number; of a share, 0 to 1
	dur  time.Duration // of a duration
	args []*node       // of a call; left and right of a comparison
}

// mistake is what is wrong with an expression, and where.
type mistake struct {
	col       int
	what, fix string
}

type token struct {
	text string // empty at the end
	col  int
}

// maxExpression bounds an expression, in bytes.
const maxExpression = 1000

// lex splits an expression into words and signs.
func lex(s string) ([]token, *mistake) {
	if len(s) > maxExpression {
		return nil, &mistake{0, "expression is too long", fmt.Sprintf("at most %d characters", maxExpression)}
	}
	var all []token
	for i := 0; i < len(s); {
		start := i
		switch c := s[i]; {
		case c == ' ' || c == '\t':
			i++
			continue
		case wordByte(c):
			for i < len(s) && (wordByte(s[i]) || s[i] == '.' && i+1 < len(s) && s[i+1] != '.') {
				i++
			}
			if i < len(s) && s[i] == '%' {
				i++
			}
		case c == '(' || c == ')' || c == ',' || c == '*':
			i++
		case strings.IndexByte("=!<>", c) >= 0:
			i++
			if i < len(s) && s[i] == '=' {
				i++
			}
		default:
			return nil, &mistake{i, fmt.Sprintf("unexpected character %q", s[i:i+1]), "write a comparison such as lost == 0"}
		}
		all = append(all, token{s[start:i], start})
	}
	return append(all, token{"", len(s)}), nil
}

func wordByte(c byte) bool {
	return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// parser reads tokens from left to right.
type parser struct {
	tokens []token
	at     int
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.text != "" {
		p.at++
	}
	return t
}

// parseComparison reads an expectation.
func parseComparison(s string) (*node, *mistake) {
	tokens, m := lex(s)
	if m != nil {
		return nil, m
	}
	p := &parser{tokens: tokens}
	left, m := p.term()
	if m != nil {
		return nil, m
	}
	op := p.next()
	switch op.text {
	case "==", "!=", "<", "<=", ">", ">=":
	case "":
		return nil, &mistake{op.col, "nothing is compared", fmt.Sprintf("write a comparison such as %s == …", strings.TrimSpace(s))}
	case "=":
		return nil, &mistake{op.col, `"=" compares nothing`, `write "=="`}
	default:
		return nil, &mistake{op.col, fmt.Sprintf("%q is no comparison", op.text), "write one of == != < <= > >="}
	}
	right, m := p.term()
	if m != nil {
		return nil, m
	}
	if rest := p.peek(); rest.text != "" {
		return nil, &mistake{rest.col, fmt.Sprintf("unexpected %q", rest.text), "write one comparison per line"}
	}
	return &node{kind: compareNode, text: op.text, col: op.col, args: []*node{left, right}}, nil
}

// parseCall reads the right side of a let.
func parseCall(s string) (*node, *mistake) {
	const fix = "write catchment(CLIENT, LOAD) or dns(CLIENT, LOAD)"
	tokens, m := lex(s)
	if m != nil {
		m.fix = fix
		return nil, m
	}
	p := &parser{tokens: tokens}
	n, m := p.term()
	switch rest := p.peek(); {
	case m != nil:
		return nil, m
	case n.kind != callNode:
		return nil, &mistake{n.col, fmt.Sprintf("%q is no function", n.text), fix}
	case rest.text != "":
		return nil, &mistake{rest.col, fmt.Sprintf("unexpected %q", rest.text), fix}
	}
	return n, nil
}

func (p *parser) term() (*node, *mistake) {
	t := p.next()
	switch {
	case t.text == "":
		return nil, &mistake{t.col, "the expression ends too early", "write a comparison such as lost == 0"}
	case !wordByte(t.text[0]):
		return nil, &mistake{t.col, fmt.Sprintf("unexpected %q", t.text), "write a name, a number or a function here"}
	case t.text[0] == '-' || t.text[0] >= '0' && t.text[0] <= '9':
		return literal(t)
	case p.peek().text == "(":
		return p.call(t)
	}
	return &node{kind: nameNode, text: t.text, col: t.col}, nil
}

func (p *parser) call(name token) (*node, *mistake) {
	n := &node{kind: callNode, text: name.text, col: name.col}
	p.next() // (
	if p.peek().text == ")" {
		p.next()
		return n, nil
	}
	for {
		arg := p.next()
		if arg.text == "" || !wordByte(arg.text[0]) && arg.text != "*" {
			return nil, &mistake{arg.col, fmt.Sprintf("argument %q of %s", arg.text, name.text), "write names, separated by commas"}
		}
		n.args = append(n.args, &node{kind: nameNode, text: arg.text, col: arg.col})
		switch sep := p.next(); sep.text {
		case ")":
			return n, nil
		case ",":
		default:
			return nil, &mistake{sep.col, fmt.Sprintf("%q is not closed", name.text+"("), `write ")" behind the last argument; inside [ ] and { } a comma needs quotes around the whole`}
		}
	}
}

func literal(t token) (*node, *mistake) {
	n := &node{text: t.text, col: t.col}
	if f, err := strconv.ParseFloat(t.text, 64); err == nil && strings.Trim(t.text, "0123456789.") == "" {
		n.kind, n.num = numberNode, f
		return n, nil
	}
	if d, err := time.ParseDuration(t.text); err == nil && d >= 0 {
		n.kind, n.dur = durationNode, d
		return n, nil
	}
	if digits, ok := strings.CutSuffix(t.text, "%"); ok {
		if f, err := strconv.ParseFloat(digits, 64); err == nil && f >= 0 && f <= 100 {
			n.kind, n.num = shareNode, f/100
			return n, nil
		}
	}
	return nil, &mistake{t.col, fmt.Sprintf("%q is neither a number nor a duration nor a share", t.text), "write such as 0, 100ms, 1.5s or 60%"}
}
