package containerlab

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/internal/conf"
)

//go:embed testdata/fields.txt
var fieldsText string

// documented is the table of the fields: section, field, type.
func documented(t *testing.T) map[string]map[string]string {
	t.Helper()
	table := map[string]map[string]string{}
	var section map[string]string
	for n, line := range strings.Split(fieldsText, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#" || strings.HasPrefix(line, "#"):
		case len(words) == 1 && !strings.HasPrefix(line, " "):
			section = map[string]string{}
			table[words[0]] = section
		case len(words) == 2 && section != nil:
			section[words[0]] = words[1]
		default:
			t.Fatalf("testdata/fields.txt:%d: cannot read %q", n+1, line)
		}
	}
	return table
}

// undocumented lists what of a topology file is not in the table, or not of the type that it says.
func undocumented(table map[string]map[string]string, text string) []string {
	doc := conf.Parse("lab.clab.yml", []byte(text))
	var wrong []string
	var value func(path, want string, v conf.Value)
	section := func(path, name string, v conf.Value) {
		if !v.IsMap() {
			wrong = append(wrong, path+": want a map")
			return
		}
		for _, e := range v.Entries() {
			key := e.Key.Text()
			want, known := table[name][key]
			if !known {
				wrong = append(wrong, fmt.Sprintf("%s: no field %q in %s", path, key, name))
				continue
			}
			value(path+"."+key, want, e.Value)
		}
	}
	value = func(path, want string, v conf.Value) {
		switch {
		case strings.HasPrefix(want, "{") && strings.HasSuffix(want, "}*"):
			for _, e := range v.Entries() {
				section(path+"."+e.Key.Text(), strings.Trim(want, "{}*"), e.Value)
			}
			return
		case strings.HasPrefix(want, "{"):
			section(path, strings.Trim(want, "{}"), v)
			return
		case strings.HasPrefix(want, "["):
			if !v.IsList() {
				wrong = append(wrong, path+": want a list")
				return
			}
			for i, item := range v.Items() {
				section(fmt.Sprintf("%s[%d]", path, i), strings.Trim(want, "[]"), item)
			}
			return
		}
		if !isA(want, v) {
			wrong = append(wrong, fmt.Sprintf("%s: %q is no %s", path, v.Text(), want))
		}
	}
	section("", "file", doc.Root())
	if err := doc.Err(); err != nil {
		wrong = append(wrong, err.Error())
	}
	return wrong
}

func isA(want string, v conf.Value) bool {
	switch want {
	case "string":
		return v.IsScalar() && v.Text() != ""
	case "number":
		_, err := strconv.ParseFloat(v.Text(), 64)
		return v.IsScalar() && err == nil
	case "bool":
		return v.IsScalar() && slices.Contains([]string{"true", "false"}, v.Text())
	case "strings":
		return v.IsList() && !slices.ContainsFunc(v.Items(), func(i conf.Value) bool { return !i.IsScalar() })
	case "map":
		return v.IsMap() && !slices.ContainsFunc(v.Entries(), func(e conf.Entry) bool { return !e.Value.IsScalar() })
	}
	return false
}

// Every field of every rendered lab is documented, and of the documented type.
func TestFieldsAreDocumented(t *testing.T) {
	table := documented(t)
	for _, lab := range shipped(t) {
		for _, router := range []string{Ours, FRR} {
			f := render(t, lab, router)
			for _, wrong := range undocumented(table, string(f.Files[f.TopologyFile()])) {
				t.Errorf("%s with routers %q: %s", lab, router, wrong)
			}
		}
	}
}

// The check itself finds what is wrong.
func TestFieldsFindsMistakes(t *testing.T) {
	text := `
name: [x]
topology:
  nodes:
    a: {kind: linux, priviledged: true, healthcheck: {interval: 5s}, binds: x}
  links:
    - {endpoint: ["a:eth1", "b:eth1"], mtu: 1500}
`
	got := strings.Join(undocumented(documented(t), text), "\n")
	for _, want := range []string{`.name: "" is no string`, `no field "priviledged"`, `"5s" is no number`, `.binds: "x" is no strings`, `no field "endpoint" in link`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}
