package schema

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/internal/conf"
)

// object is a JSON object; encoding/json sorts its keys.
type object = map[string]any

// writer turns shapes into schemas and gathers what is missing.
type writer struct {
	kind   string
	lines  []string        // of the reference document
	used   map[string]bool // places whose form was used
	faults []error
}

func (w *writer) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Errorf(format, args...))
}

// value is the schema of what may stand at a place. Places are written like site.hosts.*.ttl; [] is a list's item.
func (w *writer) value(s *conf.Shape, place string) object {
	var ways []object
	if len(s.Fields) > 0 {
		ways = append(ways, w.fixed(s, place))
	}
	if s.Each != nil {
		ways = append(ways, w.keyed(s, place))
	}
	if s.Items != nil {
		item := w.value(s.Items, place+"[]")
		ways = append(ways, item, object{"type": []string{"array", "null"}, "items": item})
	}
	for _, k := range s.Scalars {
		ways = append(ways, w.scalar(k, place))
	}
	switch len(ways) {
	case 0:
		w.fault("%s: a reader knows it and the reference document does not show it", place)
		return object{}
	case 1:
		return ways[0]
	}
	return object{"anyOf": ways}
}

// fixed is a map with fixed keys.
func (w *writer) fixed(s *conf.Shape, place string) object {
	properties, needed := object{}, []string{}
	for _, f := range s.Fields {
		at := place + "." + f.Key
		if len(f.Lines) == 0 {
			w.fault("%s: a reader knows it and the reference document does not show it", at)
			continue
		}
		p := w.value(&f.Shape, at)
		if text := w.text(f.Lines); text != "" {
			p = maps.Clone(p)
			p["description"] = text
		} else {
			w.fault("%s: the reference document says nothing about it; write a comment above the key", at)
		}
		properties[f.Key] = p
		if s.Reads > 0 && f.Needs >= s.Reads {
			needed = append(needed, f.Key)
		}
	}
	o := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(needed) > 0 {
		o["required"] = needed
	} else {
		o["type"] = []string{"object", "null"}
	}
	return o
}

// keyed is a map whose keys are names.
func (w *writer) keyed(s *conf.Shape, place string) object {
	o := object{"type": []string{"object", "null"}, "additionalProperties": w.value(s.Each, place+".*")}
	if form, ok := w.form(place + ".*="); ok {
		o["propertyNames"] = object{"pattern": form}
	}
	return o
}

// text is the comment above the first of the lines that has one.
func (w *writer) text(lines []int) string {
	for _, line := range lines {
		var words []string
		for i := line - 2; i >= 0; i-- {
			// A list's first key may have its comment on the line of the dash.
			text, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(w.lines[i]), "- "), "# ")
			if !ok {
				break
			}
			words = append(words, text)
		}
		if len(words) > 0 {
			slices.Reverse(words)
			return strings.Join(words, " ")
		}
	}
	return ""
}

// form is the pattern that a word or key at a place has, beyond its kind.
func (w *writer) form(place string) (string, bool) {
	form, ok := forms()[place]
	w.used[place] = w.used[place] || ok
	return form, ok
}

// unusedForms reports patterns for places that no reader reads.
func (w *writer) unusedForms() {
	for _, place := range slices.Sorted(maps.Keys(forms())) {
		if strings.HasPrefix(place, w.kind+".") && !w.used[place] {
			w.fault("%s: it has a pattern, and no reader reads a word there", place)
		}
	}
}

// scalar is the schema of one kind of scalar. A YAML reader makes numbers and booleans of plain words.
func (w *writer) scalar(k conf.ScalarShape, place string) object {
	switch k.Kind {
	case conf.IntKind:
		return limits(object{"type": "integer"}, k)
	case conf.FloatKind:
		return limits(object{"type": "number"}, k)
	case conf.BoolKind:
		return object{"type": "boolean"}
	case conf.EnumKind:
		return object{"enum": k.Words}
	case conf.FractionKind:
		return object{"anyOf": []object{{"type": "number", "minimum": 0, "maximum": 1}, text(`^` + number + `%$`)}}
	case conf.DurationKind:
		return text(`^(` + number + `(ns|us|µs|ms|s|m|h|d))+$`)
	case conf.RateKind:
		return text(`^` + number + `\s*[kMG]?/s$`)
	case conf.BitRateKind:
		return text(`^` + number + `\s*[kMGT]?bit/s$`)
	case conf.BytesKind:
		return text(`^` + number + `\s*([KMGT]i|[kMGT])?B$`)
	case conf.AddrKind:
		return text(`^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)$`)
	case conf.PrefixKind:
		return text(`^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)/[0-9]{1,3}$`)
	case conf.WordKind:
		if form, ok := w.form(place); ok {
			return text(form)
		}
		return object{"type": []string{"string", "number", "boolean"}}
	}
	w.fault("%s: no schema for the kind %q", place, k.Kind)
	return object{}
}

func text(pattern string) object { return object{"type": "string", "pattern": pattern} }

func limits(o object, k conf.ScalarShape) object {
	o["minimum"] = k.Lo
	if !math.IsInf(k.Hi, 1) {
		o["maximum"] = k.Hi
	}
	return o
}
