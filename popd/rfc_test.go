package popd_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// The suite in testdata/rfc says what the standards want of a cache, one behaviour a case, in the words of the wire:
//
//	== 9111 §4.2.1 s-maxage wins over max-age
//	< 200 | Cache-Control: max-age=1, s-maxage=60      the origin's next answer; the last one repeats
//	> GET                                              the client asks
//	= 200 miss #1                                      and gets this: status, whether the origin was asked, whose body
//	+ 50s                                              time passes
//	> GET /other | Accept: x                           a path below the case's own, and request fields
//	= 200 hit #1 | Age: 50 | !X-Gone | Via ~ 1.1       a field's value, a field that must not be there, a part of one
//	^ If-None-Match: "a"                               what the origin saw of the last request
//	* 103 | Link: </a>                                 an interim answer that came before
//	~ 2                                                the origin will have been asked so often in all
//
// `hit` says that the origin was not asked, `miss` that it was once, `2x` that it was twice. `#2` is the body of the
// origin's second answer, `"abc"` a body in full. Fields of origin answers may hold times as {-10s}, counted from the origin's now. `Date: none`
// leaves Date out, and the status `close` stands for a connection that breaks. A case marked [alone] runs on a cache
// alone, [tiers] on one behind a shield, [local] not on a POP of several nodes, and [obey] with a site that lets clients
// ask for fresh answers.
//
// Behaviours that are a matter of one answer and one moment have lines of their own:
//
//	fresh 9111 §4.2.1 | text | 50s | Cache-Control: max-age=60 | > Accept: x     after 50 s the origin is not asked
//	stale 9111 §4.2.1 | text | 50s | Cache-Control: max-age=10                   it is
//	fresh:404 …                                                                  with that status
//
// They are written from the texts of the RFCs.
type rfcCase struct {
	name  string
	marks map[string]bool
	file  string
	steps []rfcStep
}

// rfcStep is one line.
type rfcStep struct {
	line  int
	verb  byte
	head  []string // words before the first bar
	items []string // what the bars part
}

// rfcRun is one case under way.
type rfcRun struct {
	*testing.T
	w      *world
	origin *scripted
	addr   string
	base   string // path of the case
	host   string
	before int // how often the origin had been asked before the last request
	last   rfcReply
}

func (r *rfcRun) step(s rfcStep) {
	switch s.verb {
	case '<':
		r.origin.mu.Lock()
		o := r.origin.of(r.base)
		o.answers = append(o.answers, s)
		r.origin.mu.Unlock()
	case '+':
		d, err := time.ParseDuration(s.head[0])
		if err != nil {
			r.Fatal(err)
		}
		r.w.clock.forward(d)
	case '>':
		r.request(s)
	case '=':
		r.expect(s)
	case '^':
		r.origin.mu.Lock()
		seen, body := r.origin.of(r.base).seen, r.origin.of(r.base).body
		r.origin.mu.Unlock()
		if seen == nil {
			r.Fatalf("line %d: the origin saw no request", s.line)
		}
		h := seen.Header.Clone()
		h.Set("Host", seen.Host)
		h.Set("body", body)
		h.Set("line", strings.TrimSpace(seen.Method+" "+strings.TrimPrefix(seen.RequestURI, r.base)))
		r.fields(s, "at the origin", h)
	case '*':
		r.interim(s)
	case '~':
		n, _ := strconv.Atoi(s.head[0])
		eventually(r.T, fmt.Sprintf("the origin has been asked %d times", n), func() bool { return r.origin.asked(r.base) >= n })
	}
}

func (r *rfcRun) request(s rfcStep) {
	target := r.base
	if len(s.head) > 1 {
		target += s.head[1]
	}
	lines := slices.Clone(s.items) // the steps are of all modes
	if r.host != "" {
		lines = append([]string{"Host: " + r.host}, lines...)
	}
	for i, l := range lines {
		lines[i] = timeRE.ReplaceAllStringFunc(l, func(m string) string {
			d, _ := time.ParseDuration(m[1 : len(m)-1])
			return r.w.clock.date(d)
		})
	}
	r.before = r.origin.asked(r.base)
	var err error
	if r.last, err = r.w.ask(r.addr, s.head[0], target, lines); err != nil {
		r.Fatalf("line %d: %v", s.line, err)
	}
}

func (r *rfcRun) expect(s rfcStep) {
	got := r.last
	if want := s.head[0]; strconv.Itoa(got.status) != want {
		r.Errorf("line %d: status %d, want %s; %s", s.line, got.status, want, got.header["Cache-Status"])
	}
	for _, word := range s.head[1:] {
		asked := r.origin.asked(r.base) - r.before
		switch {
		case word[0] == '#':
			if got.body != word {
				r.Errorf("line %d: body %q, want %s; %s", s.line, got.body, word, got.header["Cache-Status"])
			}
		case word[0] == '"':
			if got.body != strings.Trim(word, `"`) {
				r.Errorf("line %d: body %q, want %s; %s", s.line, got.body, word, got.header["Cache-Status"])
			}
		case word == "empty":
			if got.body != "" {
				r.Errorf("line %d: body %q, want none", s.line, got.body)
			}
		case word == "broken":
			if got.err == nil {
				r.Errorf("line %d: a whole body %q, want a broken one", s.line, got.body)
			}
		default:
			want := map[string]int{"hit": 0, "miss": 1, "2x": 2, "3x": 3}[word]
			if asked != want {
				r.Errorf("line %d: the origin was asked %d times, want %s; %s", s.line, asked, word, got.header["Cache-Status"])
			}
		}
	}
	r.fields(s, "to the client", got.header)
}

func (r *rfcRun) fields(s rfcStep, where string, h http.Header) {
	for _, item := range s.items {
		if item == "" {
			continue
		}
		if name, ok := strings.CutPrefix(item, "!"); ok {
			if v, has := h[http.CanonicalHeaderKey(name)]; has {
				r.Errorf("line %d: %s: %s is %q, want none", s.line, where, name, v)
			}
			continue
		}
		if name, part, ok := strings.Cut(item, " ~ "); ok {
			if v := strings.Join(h.Values(name), ", "); !strings.Contains(v, part) {
				r.Errorf("line %d: %s: %s is %q, want %q in it", s.line, where, name, v, part)
			}
			continue
		}
		name, want, _ := strings.Cut(item, ": ")
		if v := strings.Join(h.Values(name), ", "); v != want {
			r.Errorf("line %d: %s: %s is %q, want %q", s.line, where, name, v, want)
		}
	}
}

func (r *rfcRun) interim(s rfcStep) {
	if s.head[0] == "none" {
		if n := len(r.last.interim); n > 0 {
			r.Errorf("line %d: %d interim answers, want none", s.line, n)
		}
		return
	}
	for _, i := range r.last.interim {
		if strconv.Itoa(i.status) == s.head[0] {
			r.fields(s, "in the interim answer", i.header)
			return
		}
	}
	r.Errorf("line %d: no interim answer %s", s.line, s.head[0])
}

// TestRFCs runs the suite against a cache alone, against one behind a shield (over HTTP/1.1, and over TLS, which is
// HTTP/2), and against one of two nodes of a POP behind a shield, of which each keeps half the keys.
func TestRFCs(t *testing.T) {
	suite := readSuite(t)
	if len(suite) < 300 {
		t.Errorf("%d behaviours, want at least 300", len(suite))
	}
	for _, mode := range []struct {
		name   string
		nodes  []string // the last one is asked
		secure bool
		skip   string // cases with this mark
	}{
		{"alone", []string{"ams1"}, false, "tiers"},
		{"behind a shield", []string{"ams1", "nyc1"}, false, "alone"},
		{"behind a shield, over TLS", []string{"ams1", "nyc1"}, true, "alone"},
		{"behind a peer and a shield", []string{"ams1", "nyc2", "nyc1"}, false, "alone"},
	} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			w, origin := rfcWorld(t)
			options := func(o *popd.Options) { o.Memory, o.Silence = 64<<20, limit } // no node is passed by for being slow
			if mode.secure {
				certify := fleetTLS(t)
				options = func(o *popd.Options) {
					o.Memory, o.Silence, o.Insecure = 64<<20, limit, false
					certify(o)
				}
			}
			nyc := w.topo.POPs[2]
			if len(mode.nodes) > 2 {
				nyc.Nodes = append(nyc.Nodes, &topology.Node{Name: "nyc2", POP: nyc, Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.34")}})
			}
			for _, n := range mode.nodes {
				w.node(n, options)
			}
			for i, c := range suite {
				if c.marks[mode.skip] || len(mode.nodes) > 2 && (c.marks["tiers"] || c.marks["local"]) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					r := &rfcRun{T: t, w: w, origin: origin, addr: web, base: fmt.Sprintf("/case%d", i)}
					if c.marks["obey"] {
						r.host = "obey.shop.example"
					}
					for _, s := range c.steps {
						r.step(s)
					}
					if t.Failed() {
						t.Logf("%s:%d", c.file, c.steps[0].line)
					}
				})
			}
		})
	}
}

// rfcWorld has the suite's origin, and beside its site one that obeys clients.
func rfcWorld(t *testing.T) (*world, *scripted) {
	t.Helper()
	origin := &scripted{cases: map[string]*script{}}
	w := newWorld(t, origin.ServeHTTP)
	origin.clock = w.clock
	obey := *w.site
	obey.Name, obey.Hosts, obey.Cache.ObeyClients = "obey", []*site.Host{{Name: "obey.shop.example"}}, true
	w.others = append(w.others, &obey)
	return w, origin
}
