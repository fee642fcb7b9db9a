package popd_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
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

func readSuite(t *testing.T) []rfcCase {
	t.Helper()
	files, err := filepath.Glob("testdata/rfc/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no suite: %v", err)
	}
	all := readPage(t, "../docs/cache.md")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			line = strings.TrimSpace(line)
			switch {
			case line == "" || line[0] == '#':
			case strings.HasPrefix(line, "== "):
				all = append(all, newCase(f, line[3:]))
			case strings.HasPrefix(line, "fresh") || strings.HasPrefix(line, "stale"):
				all = append(all, oneLiner(t, f, i+1, line))
			case len(all) == 0 || strings.IndexByte("<>=+^*~", line[0]) < 0:
				t.Fatalf("%s:%d: no step: %s", f, i+1, line)
			default:
				c := &all[len(all)-1]
				c.steps = append(c.steps, readStep(i+1, line))
			}
		}
	}
	return all
}

// readPage reads the examples of a page of the documentation, which are written in the same way.
func readPage(t *testing.T, file string) []rfcCase {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []rfcCase
	section, inside := "", false
	for i, line := range strings.Split(string(text), "\n") {
		switch marks, opens := strings.CutPrefix(line, "```cache case"); {
		case opens:
			all = append(all, newCase(file, fmt.Sprintf("cache.md %s, line %d", section, i+1)))
			for m := range strings.FieldsSeq(marks) {
				all[len(all)-1].marks[m] = true
			}
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			c := &all[len(all)-1]
			c.steps = append(c.steps, readStep(i+1, line))
		case strings.HasPrefix(line, "## "):
			section = line[3:]
		}
	}
	if len(all) < 10 {
		t.Errorf("%s: %d examples; they are no longer read", file, len(all))
	}
	return all
}

var markRE = regexp.MustCompile(`\[(\w+)\]`)

func newCase(file, title string) rfcCase {
	c := rfcCase{file: file, marks: map[string]bool{}}
	for _, m := range markRE.FindAllStringSubmatch(title, -1) {
		c.marks[m[1]] = true
	}
	c.name = strings.TrimSpace(markRE.ReplaceAllString(title, ""))
	return c
}

func readStep(line int, text string) rfcStep {
	parts := strings.Split(text[1:], " | ")
	s := rfcStep{line: line, verb: text[0], head: strings.Fields(parts[0]), items: parts[1:]}
	if s.verb == '^' {
		s.head, s.items = nil, parts
	}
	for i := range s.items {
		s.items[i] = strings.TrimSpace(s.items[i])
	}
	return s
}

// oneLiner writes a fresh or stale line out.
func oneLiner(t *testing.T, file string, n int, line string) rfcCase {
	t.Helper()
	parts := strings.Split(line, " | ")
	if len(parts) < 3 {
		t.Fatalf("%s:%d: want VERB RFC §SECTION | text | time | field …: %s", file, n, line)
	}
	verb, section, _ := strings.Cut(parts[0], " ")
	verb, status, _ := strings.Cut(verb, ":")
	if status == "" {
		status = "200"
	}
	c := newCase(file, section+" "+parts[1])
	origin, ask := "< "+status, "> GET"
	for _, p := range parts[3:] {
		if request, ok := strings.CutPrefix(p, "> "); ok {
			ask += " | " + request
		} else {
			origin += " | " + p
		}
	}
	second := "= " + status + " hit #1"
	if verb == "stale" {
		second = "= " + status + " miss"
	}
	for _, l := range []string{origin, ask, "= " + status + " miss #1", "+ " + parts[2], ask, second} {
		c.steps = append(c.steps, readStep(n, l))
	}
	return c
}

// scripted is the origin of the suite: for each case, which its path begins with, the answers that are next.
type scripted struct {
	clock *clock
	mu    sync.Mutex // guards the following
	cases map[string]*script
}

type script struct {
	answers []rfcStep
	used    bool // of answers[0]
	asked   int
	seen    *http.Request // the last
	body    string        // of it
}

func (o *scripted) of(path string) *script {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	s := o.cases[name]
	if s == nil {
		s = &script{}
		o.cases[name] = s
	}
	return s
}

// next takes a request down and says what to answer.
func (o *scripted) next(r *http.Request) (step rfcStep, nth int) {
	body, _ := io.ReadAll(r.Body) // a broken one is seen as what came of it
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.of(r.URL.Path)
	s.asked++
	s.seen, s.body = r, string(body)
	if s.used && len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	s.used = true
	if len(s.answers) == 0 {
		return rfcStep{head: []string{"500"}}, s.asked
	}
	return s.answers[0], s.asked
}

func (o *scripted) asked(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.of(path).asked
}

var timeRE = regexp.MustCompile(`\{([-+]?\w+)\}`)

// ServeHTTP answers as the script says.
func (o *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	step, nth := o.next(r)
	if step.head[0] == "close" {
		panic(http.ErrAbortHandler)
	}
	status, _ := strconv.Atoi(step.head[0])
	body, set := "#"+strconv.Itoa(nth), map[string]bool{}
	for _, item := range step.items {
		name, value, _ := strings.Cut(item, ": ")
		value = timeRE.ReplaceAllStringFunc(value, func(m string) string {
			d, _ := time.ParseDuration(m[1 : len(m)-1])
			return o.clock.date(d)
		})
		switch {
		case name == "body":
			body = value
		case strings.HasPrefix(name, "103 "):
			w.Header().Set(strings.TrimPrefix(name, "103 "), value)
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del(strings.TrimPrefix(name, "103 "))
		case item == "Date: none":
			w.Header()["Date"] = nil
		default:
			if !set[name] {
				w.Header().Del(name)
			}
			set[name] = true
			w.Header()[http.CanonicalHeaderKey(name)] = append(w.Header()[http.CanonicalHeaderKey(name)], value)
		}
	}
	w.WriteHeader(status)
	if status != http.StatusNotModified && status != http.StatusNoContent && r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body)
	}
}

// interim is an interim answer.
type interim struct {
	status int
	header http.Header
}

// rfcReply is an answer and the interim ones before it.
type rfcReply struct {
	reply
	interim []interim
}

func (w *world) ask(addr, method, target string, lines []string) (rfcReply, error) {
	var out rfcReply
	real, ok := w.net.find(addr)
	if !ok {
		return out, fmt.Errorf("nothing listens on %q", addr)
	}
	c, err := net.Dial("tcp", real)
	if err != nil {
		return out, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return out, err
	}
	version, host, body := "HTTP/1.1", "Host: www.shop.example\r\n", ""
	text := ""
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "body: "):
			body = strings.TrimPrefix(l, "body: ")
			l = "Content-Length: " + strconv.Itoa(len(body))
		case strings.HasPrefix(l, "version: "):
			version = strings.TrimPrefix(l, "version: ")
			continue
		case strings.HasPrefix(l, "Host:"):
			host = ""
		}
		text += l + "\r\n"
	}
	if _, err := io.WriteString(c, method+" "+target+" "+version+"\r\n"+host+text+"\r\n"+body); err != nil {
		return out, err
	}
	br := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return out, err
		}
		if resp.StatusCode < 200 {
			_ = resp.Body.Close() // it has none
			out.interim = append(out.interim, interim{resp.StatusCode, resp.Header})
			continue
		}
		all, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was read to its end
		out.reply = reply{resp.StatusCode, resp.Header, string(all), resp.Close, err}
		return out, nil
	}
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
	lines := s.items
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
			options := func(o *popd.Options) { o.Memory = 64 << 20 }
			if mode.secure {
				certify := fleetTLS(t)
				options = func(o *popd.Options) {
					o.Memory, o.Insecure = 64<<20, false
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
