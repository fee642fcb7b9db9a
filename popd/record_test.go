package popd_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/popd/accesslog"
)

// counted are the counters of a family whose value is not 0, as "LABEL=VALUE,… N".
func counted(t *testing.T, reg *prometheus.Registry, family string) []string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		if f.GetName() != family {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all = append(all, fmt.Sprintf("%s %v", strings.Join(labels, ","), m.GetCounter().GetValue()))
		}
	}
	slices.Sort(all)
	return all
}

// One request is one line of the log and one count, by how it ended, whether the loop or the handler answered it.
func TestRequestsAreCountedAndLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	log, err := accesslog.New(accesslog.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	reg, inner := prometheus.NewRegistry(), prometheus.NewRegistry()
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60"))
	w.node("ams1", func(o *popd.Options) { o.Registerer = inner })
	edge := w.node("nyc1", func(o *popd.Options) { o.Registerer, o.AccessLog = reg, log })
	w.get("/a?x=1", "User-Agent: test \"1\"", "Referer: http://x.example/")
	w.get("/a?x=1", "User-Agent: test \"1\"")
	w.get("/cart/1")
	w.get("/a", "Host: elsewhere.example")
	_ = edge

	want := []string{
		"from=client,result=error,site= 1", "from=client,result=hit,site=shop 1",
		"from=client,result=miss,site=shop 1", "from=client,result=pass,site=shop 1",
	}
	if got := counted(t, reg, "popd_requests_total"); !slices.Equal(got, want) {
		t.Errorf("requests at the edge\n got %q\nwant %q", got, want)
	}
	if got := counted(t, reg, "popd_body_bytes_total"); !slices.Contains(got, "from=client,result=hit,site=shop 5") {
		t.Errorf("bytes %q", got)
	}
	if got := counted(t, inner, "popd_requests_total"); !slices.Equal(got, []string{"from=edge,result=miss,site=shop 1", "from=edge,result=pass,site=shop 1"}) {
		t.Errorf("requests at the shield %q", got)
	}
	var text []byte
	eventually(t, "four lines", func() bool {
		text, err = os.ReadFile(path)
		return err == nil && strings.Count(string(text), "\n") == 4
	})
	type line struct {
		Client, Method, Target, Host, Site, Result, Upstream, Referer string
		Agent                                                         string `json:"user_agent"`
		Status, Bytes                                                 int
	}
	var got []line
	for text := range strings.Lines(string(text)) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		got = append(got, l)
	}
	if len(got) != 4 || got[0] != (line{"127.0.0.1", "GET", "/a?x=1", "www.shop.example", "shop", "miss", "shield", "http://x.example/", `test "1"`, 200, 5}) ||
		got[1] != (line{"127.0.0.1", "GET", "/a?x=1", "www.shop.example", "shop", "hit", "", "", `test "1"`, 200, 5}) ||
		got[2].Result != "pass" || got[2].Upstream != "shield" || got[3].Status != 421 || got[3].Result != "error" || got[3].Site != "" {
		t.Errorf("lines %+v", got)
	}
}

// Who asks how long it took is told, of a hit as of a miss; nobody else is.
func TestServerTiming(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60"))
	w.shield()
	for _, c := range []struct{ pragma, want string }{
		{"server-timing", `^cache;desc="ams1 miss";dur=[0-9.]+, origin;dur=[0-9.]+$`},
		{"no-cache, server-timing", `^cache;desc="ams1 hit";dur=[0-9.]+$`},
		{"no-cache", `^$`},
	} {
		if r := w.get("/a", "Pragma: "+c.pragma); !regexp.MustCompile(c.want).MatchString(r.header.Get("Server-Timing")) {
			t.Errorf("Pragma %s: Server-Timing %q, want %s", c.pragma, r.header.Get("Server-Timing"), c.want)
		}
	}
}

// A log that cannot be opened is an error of the start, not a line that somebody may read.
func TestAccessLogThatCannotBeOpened(t *testing.T) {
	log, err := accesslog.New(accesslog.Options{Path: filepath.Join(t.TempDir(), "none", "log")})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := popd.Standalone("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := popd.New(popd.Options{Node: "p", Public: []string{"127.0.0.1:0"}, Insecure: true, AccessLog: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(conf); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "open access log") {
		t.Errorf("Run says %v", err)
	}
}
