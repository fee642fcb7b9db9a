package drill

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

// maxDrill bounds a drill: what is recorded is kept in memory.
const maxDrill = time.Hour

// Parse reads a drill against the topology of its lab. The error is a *conf.Problems with all mistakes of the file, so
// that nothing runs before everything it names is known to exist.
func Parse(file string, text []byte, t *topology.Topology) (*Drill, error) {
	doc := conf.Parse(file, text)
	d := Read(doc, t)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return d, nil
}

// Read is Parse for a caller that wants more of the same file: the mistakes are left in doc, and the Drill may be used
// only if doc has none.
func Read(doc *conf.Doc, t *topology.Topology) *Drill {
	r := &reader{doc: doc, d: &Drill{Name: strings.TrimSuffix(filepath.Base(doc.File()), ".yaml"), topo: t}}
	if root := doc.Root(); root.Exists() {
		f := root.Fields("needs", "load", "let", "at", "expect")
		r.needs(f.Get("needs"))
		r.loads(f.Need("load", "write load: {www: {get: http://…/, rate: 20/s}}"))
		r.lets(f.Get("let"))
		r.steps(f.Need("at", "write at: {10s: end}"))
		r.windows(f.Need("expect", "write expect: {always: [lost == 0]}; a drill that expects nothing proves nothing"))
	}
	return r.d
}

// reader is one walk over a drill's file.
type reader struct {
	doc *conf.Doc
	d   *Drill
}

// suggest words the remedy for an unknown name.
func suggest(name, kind string, known []string) string {
	if near := conf.Nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return fmt.Sprintf("there is no %s at all", kind)
	}
	return fmt.Sprintf("the %ss are: %s", kind, strings.Join(known, ", "))
}

// needs reads what the lab must have beside verbs.
func (r *reader) needs(v conf.Value) {
	for _, item := range v.Items() {
		var known []string
		for _, f := range labs.Features() {
			known = append(known, string(f))
		}
		if word := item.Enum(known...); word != "" {
			r.d.Needs = append(r.d.Needs, labs.Feature(word))
		}
	}
}

func (r *reader) loads(v conf.Value) {
	for _, e := range v.Entries() {
		l := labs.Load{Name: e.Key.Text()}
		r.name(e.Key, "load")
		f := e.Value.Fields("get", "dns", "rate", "from")
		r.question(f, &l)
		rate := f.Need("rate", "write rate: 20/s, the requests of each client")
		l.Rate = rate.Rate()
		if rate.Exists() && rate.IsScalar() && (l.Rate <= 0 || l.Rate > 1000) {
			rate.Fail(fmt.Sprintf("rate %q is out of range", rate.Text()), "write more than 0/s and at most 1000/s")
		}
		for _, c := range f.Get("from").Items() {
			if known := clients(r.d.topo); !slices.Contains(known, c.Word()) {
				c.Fail(fmt.Sprintf("unknown client %q", c.Text()), suggest(c.Text(), "client", known))
			}
			l.From = append(l.From, c.Text())
		}
		r.d.Loads = append(r.d.Loads, l)
	}
	if v.IsMap() && len(r.d.Loads) == 0 {
		v.Fail("no load", "write load: {www: {get: http://…/, rate: 20/s}}")
	}
}

// question reads what a load asks for: a URL of the nearest POP, or a host of every name server.
func (r *reader) question(f conf.Fields, l *labs.Load) {
	host, both := f.Get("dns"), f.Get("get")
	if host.Exists() {
		if l.DNS = strings.TrimSuffix(host.Word(), "."); both.Exists() {
			both.Fail("a load with both get and dns", "make two loads of it")
		}
		if host.IsScalar() && !hostName(l.DNS) {
			host.Fail(fmt.Sprintf("dns %q is not a host that name servers can be asked for", host.Text()), "write one such as www.shop.example")
		}
		return
	}
	get := f.Need("get", "write get: http://HOST/PATH, or dns: HOST to ask every name server for it")
	l.URL = get.Word()
	if u, err := url.Parse(l.URL); l.URL != "" && (err != nil || u.Scheme != "http" || u.Host == "") {
		get.Fail(fmt.Sprintf("get %q is not a URL that a client can ask", l.URL), "write one such as http://www.shop.example/")
	}
}

// hostName reports whether a name can be asked for (RFC 1123 §2.1).
func hostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// name checks that a key can be named in an expression.
func (r *reader) name(key conf.Value, kind string) {
	text := key.Text()
	tokens, m := lex(text)
	if m != nil || len(tokens) != 2 || strings.ContainsAny(text[:1], "-0123456789") || strings.Contains(text, ".") {
		key.Fail(fmt.Sprintf("%s %q cannot be named in an expectation", kind, text), "use letters, digits, _ and -, a letter first")
	}
}

func (r *reader) lets(v conf.Value) {
	for _, e := range v.Entries() {
		name := e.Key.Text()
		r.name(e.Key, "let")
		switch {
		case r.d.topo.POP(name) != nil:
			e.Key.Fail(fmt.Sprintf("let %q has the name of a POP", name), "choose another name")
		case slices.Contains(reserved(), name):
			e.Key.Fail(fmt.Sprintf("let %q has the name of a count", name), "choose another name")
		}
		call, m := parseCall(e.Value.Word())
		if m == nil && call.text != "catchment" && call.text != "dns" {
			m = &mistake{call.col, fmt.Sprintf("function %q gives no POP", call.text), "write catchment(CLIENT, LOAD) or dns(CLIENT, LOAD)"}
		}
		if m == nil {
			m = r.d.checkCall(call, Window{})
		}
		if m != nil && e.Value.IsScalar() {
			r.fail(e.Value, m)
		}
		r.d.Lets = append(r.d.Lets, Let{Name: name, call: call})
	}
}

// reserved are the names of the counts.
func reserved() []string { return []string{"lost", "wrong_bodies", "empty_answers"} }

// fail records a mistake at its place within a scalar.
func (r *reader) fail(v conf.Value, m *mistake) {
	line, col := v.LineCol()
	r.doc.Fail(line, col+m.col, m.what, m.fix)
}

// windows reads `expect`.
func (r *reader) windows(v conf.Value) {
	for _, e := range v.Entries() {
		w, ok := r.span(e.Key)
		if !ok {
			continue
		}
		for _, item := range e.Value.Items() {
			x := Expectation{Text: item.Word(), Pos: item.Pos()}
			if x.Text == "" {
				continue
			}
			expr, m := parseComparison(x.Text)
			if m == nil {
				m = r.d.check(expr, w)
			}
			if m != nil {
				r.fail(item, m)
				continue
			}
			x.expr = expr
			w.Expect = append(w.Expect, x)
		}
		if len(e.Value.Items()) == 0 {
			e.Key.Fail(fmt.Sprintf("nothing is expected in %q", w.Name), "write a list of comparisons, or remove the window")
		}
		r.d.Windows = append(r.d.Windows, w)
	}
	if v.IsMap() && len(r.d.Windows) == 0 {
		v.Fail("no expectation", "write expect: {always: [lost == 0]}; a drill that expects nothing proves nothing")
	}
}

// span reads a window's key.
func (r *reader) span(key conf.Value) (Window, bool) {
	text := key.Text()
	w := Window{Name: text, To: r.d.End}
	from, to, isSpan := strings.Cut(text, "..")
	after, isAfter := strings.CutPrefix(text, "after ")
	var okFrom, okTo bool
	switch {
	case text == "always":
		return w, true
	case isAfter:
		w.From, okFrom = clock(after)
		okTo = true
	case isSpan:
		w.From, okFrom = clock(from)
		w.To, okTo = clock(to)
	}
	if !okFrom || !okTo {
		key.Fail(fmt.Sprintf("window %q cannot be read", text), "write always, FROM..TO such as 3s..13s, or after T; times need a unit")
		return w, false
	}
	if r.d.End == 0 {
		return w, true // the missing end is reported already
	}
	if w.From >= w.To || w.To > r.d.End {
		key.Fail(fmt.Sprintf("window %q lies outside the drill or holds no time", text), fmt.Sprintf("the drill runs from 0s to %v", r.d.End))
		return w, false
	}
	return w, true
}

// clock reads a time of the drill; a unit is required, except for 0.
func clock(s string) (time.Duration, bool) {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	return d, err == nil && d >= 0
}
