// Package arch holds the shape of the code base: which package may import which, and the few rules that every package
// keeps. The table is arrows.txt; the package's tests check the whole module against it.
package arch

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Arrows is the table of arrows.txt.
type Arrows struct {
	imports   map[string]row // by package pattern
	tests     map[string]row // what tests may import besides
	libraries []row          // left is the library
}

// row is one line of the table.
type row struct {
	line  int
	left  string
	right []string // patterns
}

// rule is how a row is cited.
func (r row) rule(arrow string) string {
	return fmt.Sprintf("arrows.txt:%d: %s", r.line, strings.TrimSpace(r.left+" "+arrow+" "+strings.Join(r.right, " ")))
}

// Parse reads the table; its comment describes the form. The first mistake ends it.
func Parse(r io.Reader) (*Arrows, error) {
	a := &Arrows{imports: map[string]row{}, tests: map[string]row{}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		into := a.imports
		if words[0] == "test" {
			into, words = a.tests, words[1:]
		}
		if len(words) < 2 || words[1] != "->" && words[1] != "<-" {
			return nil, fmt.Errorf("arrows.txt:%d: %q; want PACKAGE -> IMPORT … or LIBRARY <- PACKAGE …", n, lines.Text())
		}
		rw := row{line: n, left: words[0], right: words[2:]}
		if words[1] == "<-" {
			a.libraries = append(a.libraries, rw)
			continue
		}
		if old, ok := into[rw.left]; ok {
			return nil, fmt.Errorf("arrows.txt:%d: %s has a row already, at line %d", n, rw.left, old.line)
		}
		into[rw.left] = rw
	}
	return a, lines.Err()
}

// matches reports whether a pattern covers a package.
func matches(pattern, pkg string) bool {
	if pattern == "*" || pattern == pkg {
		return true
	}
	tree, ok := strings.CutSuffix(pattern, "/*")
	return ok && below(pkg, tree)
}

// below reports whether pkg lies in tree, not counting tree itself.
func below(pkg, tree string) bool { return strings.HasPrefix(pkg, tree+"/") }

func anyMatches(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

// rowOf finds the row of a package: its own, else that of the nearest tree around it.
func rowOf(rows map[string]row, pkg string) (row, bool) {
	if r, ok := rows[pkg]; ok {
		return r, true
	}
	for tree := pkg; ; {
		i := strings.LastIndexByte(tree, '/')
		if i < 0 {
			return row{}, false
		}
		tree = tree[:i]
		if r, ok := rows[tree+"/*"]; ok {
			return r, true
		}
	}
}

// mayImport says whether pkg may import ours, another package of the module, and by which rule not.
func (a *Arrows) mayImport(pkg, ours string, test bool) (bool, string) {
	r, ok := rowOf(a.imports, pkg)
	if !ok {
		return false, "it has no row in internal/arch/arrows.txt"
	}
	inside := strings.HasPrefix(pkg, "internal/")
	switch {
	case anyMatches(r.right, ours), below(ours, pkg), strings.HasPrefix(ours, "internal/") && !inside:
		return true, ""
	case !test:
		if inside {
			return false, r.rule("->") + " (internal imports nothing above it)"
		}
		return false, r.rule("->")
	}
	if ours == pkg || sameTree(pkg, ours) || inside && strings.HasPrefix(ours, "internal/") {
		return true, ""
	}
	all := a.tests["*"]
	own, ok := rowOf(a.tests, pkg)
	if !inside && anyMatches(all.right, ours) || ok && anyMatches(own.right, ours) {
		return true, ""
	}
	return false, r.rule("->") + ", and no `test` row allows it"
}

// sameTree reports whether two packages share their first folder.
func sameTree(a, b string) bool {
	a, _, _ = strings.Cut(a, "/")
	b, _, _ = strings.Cut(b, "/")
	return a == b && a != "internal" && a != "cmd"
}

// mayUse says whether pkg may import a library, and by which rule not. The narrowest row counts.
func (a *Arrows) mayUse(pkg, library string, test bool) (bool, string) {
	var best row
	for _, r := range a.libraries {
		if (library == r.left || below(library, r.left)) && len(r.left) > len(best.left) {
			best = r
		}
	}
	if best.left == "" || anyMatches(best.right, pkg) || test && slices.Contains(best.right, "tests") {
		return true, ""
	}
	return false, best.rule("<-")
}
