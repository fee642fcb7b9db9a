package popd_test

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

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
