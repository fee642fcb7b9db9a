package conf

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Value is a place in a Doc: a scalar, list or map, or nothing. The zero Value is absent. Every reader on an absent
// Value returns its zero value and records no problem.
type Value struct {
	doc  *Doc
	node *yaml.Node // nil: absent
	near *yaml.Node // of an absent Value: the map that lacks it
	name string     // what messages call it: the key that it stands under

	shape *Shape // where readers' questions are recorded; nil without Trace
}

// Fields is a map with fixed keys.
type Fields struct {
	of     Value
	values map[string]Value
}

// Entry is one line of a keyed map.
type Entry struct{ Key, Value Value }

// Exists reports whether the file says anything here, be it empty (`key:`).
func (v Value) Exists() bool { return v.node != nil }

// IsMap reports whether the Value is a map.
func (v Value) IsMap() bool { return v.node != nil && v.node.Kind == yaml.MappingNode }

// IsList reports whether the Value is a list.
func (v Value) IsList() bool { return v.node != nil && v.node.Kind == yaml.SequenceNode }

// IsScalar reports whether the Value is one word or text.
func (v Value) IsScalar() bool {
	return v.node != nil && v.node.Kind == yaml.ScalarNode && !v.IsNull()
}

// IsNull reports whether the key is there with nothing (or `null`, `~`) behind it.
func (v Value) IsNull() bool {
	return v.node != nil && v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!null"
}

// Pos is "file:line:col". It is empty for the zero Value.
func (v Value) Pos() string {
	line, col := v.LineCol()
	if v.doc == nil {
		return ""
	}
	return Problem{File: v.doc.file, Line: line, Col: col}.Pos()
}

// LineCol is the Value's line and column, from 1; those of the map that lacks it for an absent one; else 0, 0.
func (v Value) LineCol() (line, col int) {
	switch {
	case v.node != nil:
		return v.node.Line, v.node.Column
	case v.near != nil:
		return v.near.Line, v.near.Column
	}
	return 0, 0
}

// Name is the key that the Value stands under, empty for a root.
func (v Value) Name() string { return v.name }

// Text is the scalar's text; empty for anything else. It never records a problem: see Word.
func (v Value) Text() string {
	if !v.IsScalar() {
		return ""
	}
	return v.node.Value
}

// Fail records a problem at v. For a key that its map lacks the place is that map; on the zero Value it does nothing.
func (v Value) Fail(what, fix string) {
	if v.doc == nil {
		return
	}
	line, col := v.LineCol()
	v.doc.Fail(line, col, what, fix)
}

// Fields reads a map with fixed keys. Unknown keys, with the likeliest known one, and duplicate keys are reported.
func (v Value) Fields(known ...string) Fields {
	f := Fields{of: v, values: map[string]Value{}}
	v.shape.fixed(known)
	if v.IsMap() || v.IsNull() {
		v.shape.read()
	}
	for _, e := range v.entries() {
		key := e.Key.Text()
		if slices.Contains(known, key) {
			e.Value.shape = v.shape.under(key, e.Key.node.Line)
			f.values[key] = e.Value
			continue
		}
		fix := "known here: " + strings.Join(known, ", ")
		if near := Nearest(key, known); near != "" {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		e.Key.Fail(fmt.Sprintf("unknown key %q%s", key, v.inside()), fix)
	}
	return f
}

// inside names the map for a message: ` in "health"`.
func (v Value) inside() string {
	if v.name == "" {
		return ""
	}
	return fmt.Sprintf(" in %q", v.name)
}

// Get returns the Value under key; absent if the map lacks it.
func (f Fields) Get(key string) Value {
	if v, ok := f.values[key]; ok {
		return v
	}
	return Value{doc: f.of.doc, near: f.of.node, name: key, shape: f.of.shape.under(key, 0)}
}

// Need is Get for a key that must be there: a problem with the remedy fix is recorded if a map lacks it.
func (f Fields) Need(key, fix string) Value {
	v := f.Get(key)
	if f.of.IsMap() || f.of.IsNull() {
		f.of.shape.need(key)
	}
	if !v.Exists() && (f.of.IsMap() || f.of.IsNull()) {
		f.of.Fail(fmt.Sprintf("%q is missing%s", key, f.of.inside()), fix)
	}
	return v
}

// Entries reads a keyed map in the file's order. A key that was there before is reported and left out. Nothing behind
// the key (`links:`) is an empty map.
func (v Value) Entries() []Entry {
	shape, list := v.shape.each(), v.entries()
	for i := range list {
		list[i].Value.shape = shape
	}
	return list
}

func (v Value) entries() []Entry {
	if v.unreadable() || v.IsNull() {
		return nil
	}
	if !v.IsMap() {
		v.Fail(fmt.Sprintf("%s is %s", v.label(), v.kind()), "write a map: `key: value` lines or {key: value}")
		return nil
	}
	var list []Entry
	first := map[string]Value{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		k := v.node.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			continue // Parse has reported it
		}
		key := Value{doc: v.doc, node: k, name: k.Value}
		if before, ok := first[k.Value]; ok {
			key.Fail(fmt.Sprintf("%q is already defined at %s", k.Value, before.Pos()), "keep one of the two")
			continue
		}
		if k.Tag == "!!null" || k.Value == "" {
			key.Fail("an empty key", "write a name before the colon")
			continue
		}
		first[k.Value] = key
		list = append(list, Entry{Key: key, Value: Value{doc: v.doc, node: v.node.Content[i+1], name: k.Value}})
	}
	return list
}

// Items reads a list. A lone scalar or map counts as a list of one; nothing behind the key is an empty list.
func (v Value) Items() []Value {
	shape := v.shape.item()
	switch {
	case v.unreadable() || v.IsNull():
		return nil
	case !v.IsList():
		v.shape = shape
		return []Value{v}
	}
	list := make([]Value, 0, len(v.node.Content))
	for _, n := range v.node.Content {
		list = append(list, Value{doc: v.doc, node: n, name: singular(v.name), shape: shape})
	}
	return list
}

// singular is what messages call one item of a list: "prefix" of "prefixes".
func singular(name string) string {
	switch {
	case strings.HasSuffix(name, "xes"), strings.HasSuffix(name, "sses"):
		return strings.TrimSuffix(name, "es")
	case len(name) > 3 && strings.HasSuffix(name, "s"):
		return strings.TrimSuffix(name, "s")
	}
	return name
}

// unreadable reports whether there is nothing to read: absent, or an alias that Parse has reported.
func (v Value) unreadable() bool { return v.node == nil || v.node.Kind == yaml.AliasNode }

// label is how a message begins: the key in quotes, or "the file" for a root.
func (v Value) label() string {
	if v.name == "" {
		return "the file"
	}
	return fmt.Sprintf("%q", v.name)
}

// kind is what the Value is, for a message.
func (v Value) kind() string {
	switch {
	case v.IsMap():
		return "a map"
	case v.IsList():
		return "a list"
	case v.IsNull():
		return "empty"
	}
	return fmt.Sprintf("%q", v.Text())
}

// Lookup goes down a path of keys without recording any problem; absent if the path ends before.
func (v Value) Lookup(path ...string) Value {
	for _, key := range path {
		next := Value{}
		if v.IsMap() {
			for i := 0; i+1 < len(v.node.Content); i += 2 {
				if v.node.Content[i].Value == key {
					next = Value{doc: v.doc, node: v.node.Content[i+1], name: key}
					break
				}
			}
		}
		v = next
	}
	return v
}
