package control

import (
	"maps"
	"strings"
	"testing"
)

// A lab's parent zones are part of its Snapshot, and what Describe prints of resolution can be read again.
func TestSnapshotCarriesParentZones(t *testing.T) {
	files := folderFiles(t, "testdata/good")
	files["parent/example"] = []byte("$TTL 300\n@ SOA a.nic hostmaster.nic 1 3600 600 1209600 60\n@ NS a.nic\na.nic A 203.0.113.145\nshop NS ns1.shop\nns1.shop A 192.0.2.53\n")
	files["parent/root"] = []byte("$TTL 300\n@ SOA a.nic.example. hostmaster.nic.example. 1 3600 600 1209600 60\n@ NS a.nic.example.\nexample NS a.nic.example.\na.nic.example. A 203.0.113.145\n")
	files["topology.yaml"] = []byte(strings.Replace(strings.Replace(string(files["topology.yaml"]), "c1::/48]}", "c1::/48], resolver: res}", 1),
		"  origins:", `  resolvers: {res: {in: berlin, ecs: true, min_ttl: 60s}}
  nameservers:
    A.nic.example: {in: arc, prefixes: [203.0.113.144/28], zones: {example: parent/example, ".": parent/root}}
  origins:`, 1))
	s, err := Parse("good", files)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Parents["parent/example"]; got.Origin != "example." || string(got.Text) != string(files["parent/example"]) {
		t.Errorf("got parent zone %+v", got)
	}
	if got := s.Parents["parent/root"]; got.Origin != "." || len(s.Parents) != 2 {
		t.Errorf("got %d parent zones, the root's is %+v", len(s.Parents), got)
	}
	dir := t.TempDir()
	if err := Save(dir, s); err != nil {
		t.Fatal(err)
	}
	back, err := LoadSaved(dir)
	if err != nil || len(back.Parents) != 2 {
		t.Errorf("saved and loaded: %v, error %v", back, err)
	}
	again := maps.Clone(files)
	text := describe(t, s)
	end := strings.Index(text, "\n# sites/")
	if end < 0 {
		end = len(text)
	}
	again["topology.yaml"] = []byte(strings.ReplaceAll(strings.ReplaceAll(text[:end], "unlimited", "0/s"), "rate: 0/s, prepend", "rate: 0bit/s, prepend"))
	if s2, err := Parse("good", again); err != nil {
		t.Errorf("what Describe prints cannot be read: %v", err)
	} else if got := s2.Topology.Network("berlin").Resolver; got == nil || !got.ECS {
		t.Errorf("what Describe prints loses the resolver: %+v", got)
	}
}
