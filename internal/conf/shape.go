package conf

import "slices"

// Shape is what readers asked a place in a Doc for, gathered over one walk or several: from it a schema for editors is
// made, so that a schema knows what the reader knows and nothing else. A place can have several forms at once
// (`at: AMS` and `at: {lat: …}`).
type Shape struct {
	Fields  []*FieldShape // of a map with fixed keys, in the reader's order
	Each    *Shape        // of the values of a keyed map
	Items   *Shape        // of the items of a list
	Scalars []ScalarShape
	Reads   int // how many maps with fixed keys were read here
}

// FieldShape is one fixed key of a map.
type FieldShape struct {
	Shape
	Key   string
	Needs int   // how many of the maps had to have it; fewer than were read if that depends on another key
	Lines []int // where the Doc says it, from 1
}

// ScalarShape is one kind of scalar that is read at a place.
type ScalarShape struct {
	Kind   Kind
	Lo, Hi float64  // of an Int or Float, both included
	Words  []string // of an Enum
}

// Kind is named like the method of Value that reads it.
type Kind string

// The kinds of scalars.
const (
	WordKind     Kind = "word"
	IntKind      Kind = "int"
	FloatKind    Kind = "float"
	BoolKind     Kind = "bool"
	EnumKind     Kind = "enum"
	DurationKind Kind = "duration"
	RateKind     Kind = "rate"
	BitRateKind  Kind = "bit rate"
	BytesKind    Kind = "bytes"
	FractionKind Kind = "fraction"
	AddrKind     Kind = "address"
	PrefixKind   Kind = "prefix"
)

// Trace begins to record what readers ask the Values of d for. Call it before Root.
func (d *Doc) Trace() *Shape {
	d.shape = &Shape{}
	return d.shape
}

// Field is the shape under a fixed key; nil if no reader knows it.
func (s *Shape) Field(key string) *FieldShape {
	for _, f := range s.Fields {
		if f.Key == key {
			return f
		}
	}
	return nil
}

// The recording methods do nothing on nil: without Trace no Value has a Shape.

func (s *Shape) scalar(k ScalarShape) {
	if s == nil || slices.ContainsFunc(s.Scalars, func(o ScalarShape) bool { return o.Kind == k.Kind }) {
		return
	}
	s.Scalars = append(s.Scalars, k)
}

func (s *Shape) fixed(keys []string) {
	if s == nil {
		return
	}
	for _, key := range keys {
		if s.Field(key) == nil {
			s.Fields = append(s.Fields, &FieldShape{Key: key})
		}
	}
}

// under is the shape of the value of a fixed key that stands at line, 0 if it is absent.
func (s *Shape) under(key string, line int) *Shape {
	if s == nil {
		return nil
	}
	f := s.Field(key)
	if f == nil {
		return nil
	}
	if line > 0 && !slices.Contains(f.Lines, line) {
		f.Lines = append(f.Lines, line)
	}
	return &f.Shape
}

func (s *Shape) read() {
	if s != nil {
		s.Reads++
	}
}

func (s *Shape) need(key string) {
	if s == nil {
		return
	}
	if f := s.Field(key); f != nil {
		f.Needs++
	}
}

func (s *Shape) each() *Shape {
	if s == nil {
		return nil
	}
	if s.Each == nil {
		s.Each = &Shape{}
	}
	return s.Each
}

func (s *Shape) item() *Shape {
	if s == nil {
		return nil
	}
	if s.Items == nil {
		s.Items = &Shape{}
	}
	return s.Items
}
