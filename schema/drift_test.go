package schema

import (
	"strings"
	"testing"

	"github.com/catchment-net/catchment/internal/conf"
)

// A reader that learns a key is noticed until the reference document shows and explains it.
func TestMakeNoticesWhatTheReferenceLacks(t *testing.T) {
	reader := func(known ...string) func(*conf.Doc) {
		return func(d *conf.Doc) {
			f := d.Root().Fields(known...)
			for _, key := range known {
				f.Get(key).Word()
			}
		}
	}
	const text = "# What it is called.\nname: x\n"
	for _, c := range []struct {
		name, text string
		read       func(*conf.Doc)
		want       string
	}{
		{"all is shown", text, reader("name"), ""},
		{"new in the reader", text, reader("name", "colour"), "made.colour: a reader knows it and the reference document does not show it"},
		{"new in the document", text + "# Its colour.\ncolour: red\n", reader("name"), `unknown key "colour"`},
		{"not explained", text + "\ncolour: red\n", reader("name", "colour"), "made.colour: the reference document says nothing about it"},
		{"never read", text, func(d *conf.Doc) { d.Root().Fields("name") }, "made.name: a reader knows it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := generate("made", "made.yaml", []byte(c.text), c.read)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A key that is needed only where another is not there must not be required.
func TestConditionalKeysAreNotRequired(t *testing.T) {
	read := func(d *conf.Doc) {
		for _, e := range d.Root().Entries() {
			f := e.Value.Fields("get", "dns", "rate")
			f.Need("rate", "write it").Rate()
			if dns := f.Get("dns"); dns.Exists() {
				dns.Word()
				continue
			}
			f.Need("get", "write it").Word()
		}
	}
	const text = "a:\n  # The URL.\n  get: x\n  # How often.\n  rate: 1/s\nb:\n  # The host.\n  dns: x\n  rate: 1/s\n"
	got, err := generate("made", "made.yaml", []byte(text), read)
	if err != nil {
		t.Fatal(err)
	}
	if _, required, _ := strings.Cut(string(got), `"required": [`); !strings.Contains(required, `"rate"`) || strings.Contains(required, `"get"`) {
		t.Errorf("want rate alone required:\n%s", got)
	}
}
