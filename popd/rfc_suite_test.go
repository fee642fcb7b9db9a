package popd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

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
