// Package conf reads configuration files strictly: YAML on yaml.Node only, in one walk that reports every mistake of a
// file at once as "file:line:col: what is wrong; what would be right".
//
// A reader asks for what it knows: Fields for a map with fixed keys, Entries for a keyed map, Items for a list, and one
// method per kind of scalar. Whatever is wrong is recorded in the Doc and the zero value is returned, so that the walk
// goes on; Doc.Err says at the end whether the result may be used. Anchors, aliases, merge keys, tags and several
// documents in one file are refused: what a file says stands where it is said.
//
// A Doc and its Values belong to one goroutine.
package conf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits of one file. A file beyond MaxBytes is refused; problems beyond MaxProblems are counted, not kept.
const (
	MaxBytes    = 4 << 20
	MaxProblems = 200
	maxDepth    = 64 // levels of nesting; our formats need six
)

// Doc is one file and the problems found in it so far.
type Doc struct {
	file     string
	text     []byte
	root     *yaml.Node
	problems []Problem
	seen     map[Problem]bool
	dropped  int
	secrets  []string
	shape    *Shape // of the root, from Trace on
}

// Parse reads one YAML document. Errors of syntax are recorded as problems, too; Root is then absent. file is only
// used in messages.
func Parse(file string, text []byte) *Doc {
	d := Plain(file, text)
	if len(text) > MaxBytes {
		d.Fail(0, 0, fmt.Sprintf("file has %d bytes", len(text)), fmt.Sprintf("split it: at most %d are read", MaxBytes))
		return d
	}
	if !d.checkEncoding() {
		return d
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	err := dec.Decode(&first)
	if errors.Is(err, io.EOF) {
		d.Fail(1, 1, "file is empty", "write at least one `key: value` line, or remove the file")
		return d
	}
	if err == nil {
		err = dec.Decode(&second)
		if err == nil {
			d.Fail(second.Line, second.Column, "a second document begins here", "keep one document per file: remove the `---`")
			return d
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		d.syntax(err)
		return d
	}
	if len(first.Content) != 1 {
		d.Fail(1, 1, "file is empty", "write at least one `key: value` line, or remove the file")
		return d
	}
	d.root = first.Content[0]
	if !d.plain(d.root, 0) {
		d.root = nil
	}
	return d
}

// Plain makes a Doc for a file that is not YAML (a zone, say), so that its problems are reported with the others. Its
// Root is absent.
func Plain(file string, text []byte) *Doc {
	return &Doc{file: file, text: text, seen: map[Problem]bool{}}
}

// Root is the whole document; absent if there is none or its syntax is wrong.
func (d *Doc) Root() Value {
	if d.root == nil {
		return Value{}
	}
	return Value{doc: d, node: d.root, shape: d.shape}
}

// File is the name that messages use.
func (d *Doc) File() string { return d.file }

// Fail records a problem at a line and column, both from 1; column 0 means the whole line and line 0 the whole file.
// The same problem recorded twice counts once.
func (d *Doc) Fail(line, col int, what, fix string) {
	p := Problem{File: d.file, Line: line, Col: col, What: what, Fix: fix}
	switch {
	case d.seen[p]:
	case len(d.problems) >= MaxProblems:
		d.dropped++
	default:
		d.seen[p] = true
		d.problems = append(d.problems, p)
	}
}

// Err is nil, or a *Problems with all that was found, in the order of the file.
func (d *Doc) Err() error {
	if len(d.problems) == 0 {
		return nil
	}
	list := slices.Clone(d.problems)
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if d.dropped > 0 {
		list = append(list, Problem{File: d.file, What: fmt.Sprintf("%d further problems", d.dropped), Fix: "mend these first"})
	}
	return &Problems{List: list, sources: map[string]source{d.file: {text: d.text, secrets: d.secrets}}}
}

// checkEncoding refuses what is not UTF-8 text, at its place: the YAML library names none.
func (d *Doc) checkEncoding() bool {
	line, col := 1, 0
	for i := 0; i < len(d.text); {
		r, size := utf8.DecodeRune(d.text[i:])
		col++
		switch {
		case r == utf8.RuneError && size == 1:
			d.Fail(line, col, fmt.Sprintf("byte 0x%02x is not UTF-8", d.text[i]), "save the file as UTF-8")
			return false
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7f:
			d.Fail(line, col, fmt.Sprintf("control character %q", r), "remove it")
			return false
		case r == '\r' && !bytes.HasPrefix(d.text[i:], []byte("\r\n")), r == 0x85, r == 0x2028, r == 0x2029:
			d.Fail(line, col, fmt.Sprintf("%q, which YAML takes for the end of a line and editors do not", r), "save the file with the line ends of Unix")
			return false
		case r == '\n':
			line, col = line+1, 0
		}
		i += size
	}
	return true
}

// plain refuses anchors, aliases, merge keys, tags and keys that are no scalars. What it has reported, the readers
// leave alone. It reports false if the document is too deep to be walked at all.
func (d *Doc) plain(n *yaml.Node, depth int) bool {
	if depth > maxDepth {
		d.Fail(n.Line, n.Column, fmt.Sprintf("nested more than %d levels deep", maxDepth), "check the indentation and brackets")
		return false
	}
	const repeat = "write the value out where it is used"
	switch {
	case n.Kind == yaml.AliasNode:
		d.Fail(n.Line, n.Column, fmt.Sprintf("alias %q", "*"+n.Value), repeat)
		return true
	case n.Anchor != "":
		d.Fail(n.Line, n.Column, fmt.Sprintf("anchor %q", "&"+n.Anchor), repeat)
	case n.Style&yaml.TaggedStyle != 0:
		d.Fail(n.Line, n.Column, fmt.Sprintf("tag %q", n.Tag), "write the plain value")
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			switch {
			case c.Kind == yaml.ScalarNode && c.Tag == "!!merge":
				d.Fail(c.Line, c.Column, `merge key "<<"`, repeat)
			case c.Kind == yaml.MappingNode || c.Kind == yaml.SequenceNode:
				d.Fail(c.Line, c.Column, "a key must be one word", "write `key: value`; text with brackets needs quotes")
			}
		}
		if !d.plain(c, depth+1) {
			return false
		}
	}
	return true
}
