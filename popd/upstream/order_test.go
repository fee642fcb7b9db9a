package upstream

import (
	"crypto/sha256"
	"net/http"
	"testing"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

func TestOrderSpreadsByWeight(t *testing.T) {
	origins := []site.Origin{{Weight: 3}, {Weight: 1}, {Weight: 9, Backup: true}}
	first := map[int]int{}
	for n := range uint64(4000) {
		got := Order(origins, n)
		if !got[2].Backup {
			t.Fatal("the backup is not last")
		}
		first[got[0].Weight]++
	}
	if first[3] < 2800 || first[3] > 3200 {
		t.Errorf("weight 3 of 4 came first %d of 4000 times", first[3])
	}
}

func TestShields(t *testing.T) {
	topo := &topology.Topology{}
	for _, name := range []string{"ams", "fra", "nyc"} {
		p := &topology.POP{Name: name, Shield: name != "nyc"}
		p.Nodes = []*topology.Node{{Name: name + "1", POP: p}, {Name: name + "2", POP: p}}
		topo.POPs = append(topo.POPs, p)
	}
	nyc := topo.POPs[2]
	down := func(pop string) *health.View {
		return &health.View{POPs: map[string]health.POPView{pop: {Services: map[health.Service]health.ServiceView{health.Web: {State: health.Down}}}}}
	}
	first := map[string]int{}
	for i := range 1000 {
		k := key.Key(sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
		both := Shields(topo, nyc, nil, k)
		if len(both) != 2 {
			t.Fatalf("%d shields, want 2", len(both))
		}
		first[both[0].Name]++
		if rest := Shields(topo, nyc, down(both[0].POP.Name), k); len(rest) != 1 || rest[0] != both[1] {
			t.Fatalf("with %s down: %v, want %v", both[0].POP.Name, rest, both[1:])
		}
		draining := &health.View{Nodes: map[string]health.NodeView{both[0].Name: {Draining: true}}}
		if other := Shields(topo, nyc, draining, k); other[0].POP != both[0].POP || other[0] == both[0] {
			t.Fatalf("with %s draining: %s", both[0].Name, other[0].Name)
		}
	}
	for _, n := range []string{"ams1", "ams2", "fra1", "fra2"} {
		if first[n] < 150 {
			t.Errorf("%s keeps %d of 1000 keys", n, first[n])
		}
	}
	if got := Shields(topo, topo.POPs[0], nil, key.Key{}); got != nil {
		t.Errorf("a shield asks %v", got)
	}
}

func TestLooped(t *testing.T) {
	h := http.Header{LoopField: {"other; a=b", "Us ;node=a1"}}
	for _, tt := range []struct {
		id, node string
		want     bool
	}{{"us", "", true}, {"us", "a1", true}, {"us", "a2", false}, {"u", "", false}} {
		if got := Looped(h, tt.id, tt.node); got != tt.want {
			t.Errorf("Looped(%q, %q) = %v", tt.id, tt.node, got)
		}
	}
}
