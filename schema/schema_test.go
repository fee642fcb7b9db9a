package schema_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/drill"
	"github.com/catchment-net/catchment/schema"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// compile makes a kind's schema ready. Make fails when a reader and its reference document know different keys.
func compile(t *testing.T, kind string) *jsonschema.Schema {
	t.Helper()
	text, err := schema.Make(kind)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:///"+kind+".json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem:///" + kind + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid reads YAML as an editor does and asks the schema.
func valid(s *jsonschema.Schema, text []byte) error {
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return err
	}
	return s.Validate(v)
}

// readerOf is the strict reader of a kind, with the reference topology.
func readerOf(t *testing.T, kind string) func([]byte) error {
	t.Helper()
	switch kind {
	case "topology":
		return func(text []byte) error { _, err := topology.Parse("topology.yaml", text); return err }
	case "site":
		return func(text []byte) error { _, err := site.Parse("sites/shop.yaml", text, nil); return err }
	}
	text, err := schema.Reference("topology")
	if err != nil {
		t.Fatal(err)
	}
	topo, err := topology.Parse("topology.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	return func(text []byte) error { _, err := drill.Parse("d.yaml", text, topo); return err }
}

func referenceOf(t *testing.T, kind string) []byte {
	t.Helper()
	text, err := schema.Reference(kind)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestReferenceDocumentsAreValid(t *testing.T) {
	for _, kind := range schema.Kinds() {
		text := referenceOf(t, kind)
		if err := valid(compile(t, kind), text); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := readerOf(t, kind)(text); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestShippedFilesAreValid(t *testing.T) {
	root := t.TempDir()
	for _, lab := range catalog.List() {
		if err := catalog.Extract(lab, filepath.Join(root, lab)); err != nil {
			t.Fatal(err)
		}
	}
	for pattern, kind := range map[string]string{
		root + "/*/topology.yaml": "topology", root + "/*/sites/*.yaml": "site", root + "/*/drills/*.yaml": "drill",
		"../topology/testdata/reference.yaml": "topology", "../site/testdata/shop.yaml": "site",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no file (%v)", pattern, err)
		}
		s := compile(t, kind)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := valid(s, text); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// mappings calls fn for every map of a document, with its place.
func mappings(n *yaml.Node, place string, fn func(*yaml.Node, string)) {
	switch n.Kind {
	case yaml.MappingNode:
		fn(n, place)
		for i := 0; i+1 < len(n.Content); i += 2 {
			mappings(n.Content[i+1], place+"."+n.Content[i].Value, fn)
		}
	case yaml.SequenceNode, yaml.DocumentNode:
		for _, c := range n.Content {
			mappings(c, place, fn)
		}
	default:
	}
}

func render(t *testing.T, n *yaml.Node) []byte {
	t.Helper()
	text, err := yaml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// conditional reports keys that a reader misses only where another one is not there, which a schema leaves to it.
func conditional(place, key string) bool {
	return place == "site" && key == "origin" || strings.HasPrefix(place, "drill.load.") && key == "get"
}

// Wherever the reader refuses an unknown key, the schema does, too; and wherever it misses one that was taken away.
func TestSchemaAndReaderRefuseTheSameKeys(t *testing.T) {
	for _, kind := range schema.Kinds() {
		s, read := compile(t, kind), readerOf(t, kind)
		var doc yaml.Node
		if err := yaml.Unmarshal(referenceOf(t, kind), &doc); err != nil {
			t.Fatal(err)
		}
		unknown, missing := 0, 0
		mappings(&doc, kind, func(n *yaml.Node, place string) {
			whole := n.Content
			defer func() { n.Content = whole }()
			n.Content = append(append([]*yaml.Node{}, whole...), &yaml.Node{Kind: yaml.ScalarNode, Value: "zzz"}, &yaml.Node{Kind: yaml.ScalarNode, Value: "x"})
			text := render(t, &doc)
			if err := read(text); err != nil && strings.Contains(err.Error(), `unknown key "zzz"`) {
				unknown++
				if valid(s, text) == nil {
					t.Errorf("%s: the reader refuses an unknown key and the schema does not", place)
				}
			}
			for i := 0; i < len(whole); i += 2 {
				n.Content = append(append([]*yaml.Node{}, whole[:i]...), whole[i+2:]...)
				text := render(t, &doc)
				gone := fmt.Sprintf("%q is missing", whole[i].Value)
				err := read(text)
				refused := err != nil && strings.Contains(err.Error(), gone) && !conditional(place, whole[i].Value)
				if refused != (valid(s, text) != nil) && (refused || err == nil) {
					t.Errorf("%s without %q: the reader says %v, the schema %v", place, whole[i].Value, err, valid(s, text))
				}
				if refused {
					missing++
				}
			}
		})
		if unknown < 2 || missing < 2 {
			t.Errorf("%s: only %d maps with fixed keys and %d needed keys were tried", kind, unknown, missing)
		}
	}
}

// What a reader refuses by itself, with a change to the reference document that shows it.
func TestSchemaRefusesBadValues(t *testing.T) {
	for _, c := range []struct{ kind, good, bad string }{
		{"topology", "asn: 64500", "asn: AS64500"},
		{"topology", "at: AMS", "at: amsterdam"},
		{"topology", "capacity: 20k/s", "capacity: 20000"},
		{"topology", "nodes: 2", "nodes: two"},
		{"topology", "nodes: 2", "nodes: 65"},
		{"topology", "shield: true", "shield: often"},
		{"topology", "lat: 50.1", "lat: 91"},
		{"topology", "country: DE", "country: Germany"},
		{"topology", "interval: 100ms", "interval: 100"},
		{"topology", "unicast: [203.0.113.0/28]", "unicast: [203.0.113.0]"},
		{"topology", "address: 198.18.0.1", "address: fra-r1"},
		{"topology", "loss: 0.5%", "loss: 2"},
		{"topology", "rate: 100Mbit/s", "rate: 100M"},
		{"topology", "ams -> arc:", "ams => arc:"},
		{"site", "steer: geo", "steer: geographic"},
		{"site", "ttl: 20s", "ttl: 20"},
		{"site", "store: never", "store: sometimes"},
		{"site", "- http://origin.shop.example", "- origin.shop.example"},
		{"site", "regions: [AS, OC]", "regions: [Asia]"},
		{"drill", "rate: 20/s", "rate: 20"},
		{"drill", "3s: kill best", "3s: murder best"},
		{"drill", "3s: kill best", "3s: kill"},
		{"drill", "13s: heal best", "13: heal best"},
		{"drill", "- outage(*) < 5s", "- outage(*)"},
		{"drill", "always:", "ever:"},
		{"drill", "get: http://", "get: https://"},
	} {
		text := string(referenceOf(t, c.kind))
		if !strings.Contains(text, c.good) {
			t.Errorf("%s: the reference document has no %q", c.kind, c.good)
			continue
		}
		changed := []byte(strings.Replace(text, c.good, c.bad, 1))
		if valid(compile(t, c.kind), changed) == nil {
			t.Errorf("%s: the schema takes %q", c.kind, c.bad)
		}
		if readerOf(t, c.kind)(changed) == nil {
			t.Errorf("%s: the reader takes %q; it is no bad value", c.kind, c.bad)
		}
	}
}

func TestUnknownKind(t *testing.T) {
	if _, err := schema.Make("zone"); err == nil || !strings.Contains(err.Error(), "topology, site, drill") {
		t.Errorf("got %v, want the kinds that there are", err)
	}
}
