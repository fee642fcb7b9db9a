// Package schema makes JSON Schemas (2020-12) of the files that a user writes, for editors.
//
// Nothing here lists keys. The strict readers walk a reference document that shows every key once, and what they ask it
// for (conf.Shape) is the schema: keys, which of them are needed, kinds of values, limits, enumerations. The document's
// comments are the texts that an editor shows. A key that a reader learns and that the document does not show, or the
// reverse, is an error of Make, and a test calls it.
package schema

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/labs/drill"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

//go:embed reference
var reference embed.FS

// Kinds are the files that have a schema, by the names of their schemas.
func Kinds() []string { return []string{"topology", "site", "drill"} }

// Make returns the schema of one kind of file, as indented JSON.
func Make(kind string) ([]byte, error) {
	file, read, err := readerOf(kind)
	if err != nil {
		return nil, err
	}
	text, err := reference.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the reference document of %q: %w", kind, err)
	}
	return generate(kind, file, text, read)
}

// Reference is the document that shows every key of a kind once, with its meaning.
func Reference(kind string) ([]byte, error) {
	file, _, err := readerOf(kind)
	if err != nil {
		return nil, err
	}
	return reference.ReadFile(file)
}

// readerOf is the reference document of a kind and its strict reader.
func readerOf(kind string) (string, func(*conf.Doc), error) {
	switch kind {
	case "topology":
		return "reference/topology.yaml", func(d *conf.Doc) { topology.Read(d) }, nil
	case "site":
		return "reference/sites/shop.yaml", func(d *conf.Doc) { site.Read(d, nil) }, nil
	case "drill":
		t, err := referenceTopology()
		return "reference/drills/reference.yaml", func(d *conf.Doc) { drill.Read(d, t) }, err
	}
	return "", nil, fmt.Errorf("unknown schema %q; write one of %s", kind, strings.Join(Kinds(), ", "))
}

// referenceTopology is what the reference drill runs on.
func referenceTopology() (*topology.Topology, error) {
	text, err := reference.ReadFile("reference/topology.yaml")
	if err != nil {
		return nil, err
	}
	return topology.Parse("reference/topology.yaml", text)
}

// generate reads the document and turns what its reader asked for into a schema.
func generate(kind, file string, text []byte, read func(*conf.Doc)) ([]byte, error) {
	doc := conf.Parse(file, text)
	shape := doc.Trace()
	read(doc)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	w := &writer{kind: kind, lines: strings.Split(string(text), "\n"), used: map[string]bool{}}
	root := w.value(shape, kind)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Catchment " + kind
	w.unusedForms()
	if err := errors.Join(w.faults...); err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema of %q: %w", kind, err)
	}
	return append(out, '\n'), nil
}
