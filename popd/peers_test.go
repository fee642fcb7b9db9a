package popd_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// threeNodes has the nodes nyc1 to nyc3, of which the first n run, and their unicast addresses. There is no shield.
func threeNodes(t *testing.T, n int, handler http.HandlerFunc) (w *world, at map[string]string, servers map[string]*popd.Server) {
	t.Helper()
	w = newWorld(t, handler)
	nyc := w.topo.POPs[2]
	nyc.Nodes = nil
	at, servers = map[string]string{}, map[string]*popd.Server{}
	for i := range 3 {
		n := &topology.Node{Name: fmt.Sprintf("nyc%d", i+1), POP: nyc, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(33 + i)})}}
		nyc.Nodes = append(nyc.Nodes, n)
		at[n.Name] = n.Addrs[0].String() + ":80"
	}
	w.topo.POPs[0].Shield = false
	for _, n := range nyc.Nodes[:n] {
		servers[n.Name] = w.node(n.Name, nil)
	}
	return w, at, servers
}

// keptBy finds a path whose key the node keeps.
func (w *world) keptBy(node string, at map[string]string) string {
	w.t.Helper()
	asker := "nyc1"
	if node == "nyc1" {
		asker = "nyc2"
	}
	for i := range 200 {
		path := fmt.Sprintf("/kept/%d", i)
		r, err := w.do("GET", at[asker], path)
		if err == nil && strings.HasPrefix(r.header.Get("Cache-Status"), node+";") {
			return path
		}
	}
	w.t.Fatalf("%s keeps none of 200 keys", node)
	return ""
}

// A POP asks upstream once for what any of its nodes is asked for, and remembers it once.
func TestAPOPRemembersOnce(t *testing.T) {
	w, at, _ := threeNodes(t, 3, answer("hello", "Cache-Control: max-age=60"))
	kept := map[string]int{}
	const keys = 60
	for i := range keys {
		path := fmt.Sprintf("/a/%d", i)
		for _, n := range []string{"nyc1", "nyc2", "nyc3", "nyc1", "nyc2", "nyc3"} {
			r, err := w.do("GET", at[n], path)
			if err != nil || r.body != "hello" {
				t.Fatalf("%+v, %v", r, err)
			}
			if strings.HasPrefix(r.last(), n+"; hit") {
				kept[n]++
			}
		}
	}
	w.wantAsked(keys)
	total := 0
	for n, hits := range kept {
		total += hits
		if hits < keys/6 {
			t.Errorf("%s keeps %d of %d keys", n, hits, keys)
		}
	}
	// Each key is a hit at its keeper alone: twice, or once where the keeper was the first to ask.
	if total < keys || total > 2*keys {
		t.Errorf("%d hits without a peer for %d keys", total, keys)
	}
}

// What is asked for again and again is kept by every node.
func TestHotKeysAreKeptByAll(t *testing.T) {
	w, at, _ := threeNodes(t, 3, answer("hello", "Cache-Control: max-age=60"))
	path := w.keptBy("nyc3", at)
	for range 100 {
		if r, err := w.do("GET", at["nyc2"], path); err != nil || r.body != "hello" {
			t.Fatalf("%+v, %v", r, err)
		} else if strings.HasPrefix(r.last(), "nyc2; hit") {
			return
		}
	}
	t.Error("after 100 requests the node still asks its peer")
}

// A peer that is gone costs nobody an answer: by the view its keys have another keeper, before that we ask upstream.
func TestAPeerThatIsGone(t *testing.T) {
	w, at, servers := threeNodes(t, 2, answer("hello", "Cache-Control: max-age=60"))
	for i := range 30 { // a third of them nyc3's
		if r, err := w.do("GET", at["nyc1"], fmt.Sprintf("/a/%d", i)); err != nil || r.body != "hello" {
			t.Errorf("unreachable: %+v, %v", r, err)
		}
	}
	w.wantAsked(30)
	view := &health.View{Nodes: map[string]health.NodeView{"nyc3": {Services: map[health.Service]health.ServiceView{health.Web: {State: health.Down}}}}}
	servers["nyc1"].SetView(view)
	servers["nyc2"].SetView(view)
	before := w.asked.Load()
	for i := range 60 {
		if r, err := w.do("GET", at[[]string{"nyc1", "nyc2"}[i%2]], fmt.Sprintf("/b/%d", i/2)); err != nil || r.body != "hello" {
			t.Errorf("by the view: %+v, %v", r, err)
		}
	}
	w.wantAsked(before + 30)
}

// Two nodes that key URLs by different rules hand answers on, and keep none of them.
func TestNodesOfDifferentRules(t *testing.T) {
	w, at, servers := threeNodes(t, 3, answer("hello", "Cache-Control: max-age=60"))
	path := w.keptBy("nyc3", at) + "?utm_source=x" // the same key to those whose rules drop it
	other := *w.site
	other.Cache.Key = site.Key{}
	if err := servers["nyc3"].Apply(popd.Config{Topology: w.topo, Sites: []*site.Site{&other}}); err != nil {
		t.Fatal(err)
	}
	before := w.asked.Load()
	for range 3 {
		r, err := w.do("GET", at["nyc1"], path)
		if err != nil || r.body != "hello" {
			t.Fatalf("%+v, %v", r, err)
		}
		all := strings.Join(r.header["Cache-Status"], ", ")
		if !strings.HasPrefix(all, "nyc3; fwd=bypass; detail=rules") || !strings.HasSuffix(all, "detail=rules") || strings.Contains(all, "stored") {
			t.Errorf("Cache-Status %q, want detail=rules of both, and nothing stored", all)
		}
	}
	w.wantAsked(before + 3)
}

// After an unsafe request at any node no node of the POP answers from before it.
func TestUnsafeRequestsReachTheKeeper(t *testing.T) {
	w, at, _ := threeNodes(t, 3, answer("hello", "Cache-Control: max-age=60"))
	path := w.keptBy("nyc3", at)
	before := w.asked.Load()
	if r, err := w.do("POST", at["nyc2"], path, "Content-Length: 0"); err != nil || r.status != 200 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := w.do("GET", at["nyc1"], path); err != nil || !strings.Contains(strings.Join(r.header["Cache-Status"], ","), "nyc3; fwd=uri-miss") {
		t.Errorf("%+v, %v", r, err)
	}
	w.wantAsked(before + 2)
}
