package arch

import (
	"fmt"
	"slices"
	"strings"
)

// Package is one package of the module as the checks see it. Paths of our own packages are below the module's.
type Package struct {
	Path    string // "popd/key"; "." is the module's root
	Doc     string // the first sentence of the package comment
	Imports []Import
	Lines   map[string]int // by file, tests included
	State   []string       // what is wrong with its package-level variables, one line each
}

// Import is one import of one file.
type Import struct {
	File string // "popd/key/key.go:12"
	Path string // as written
	Test bool
}

// maxLines is where a file must be split (style.md).
const maxLines = 600

// Check returns every breach of the table and of the general rules, one line each, sorted.
func Check(a *Arrows, module string, packages []Package) []string {
	var wrong []string
	for _, p := range packages {
		if _, ok := rowOf(a.imports, p.Path); !ok {
			wrong = append(wrong, fmt.Sprintf("%s: it has no row in internal/arch/arrows.txt; add one", p.Path))
		}
		if p.Doc == "" {
			wrong = append(wrong, fmt.Sprintf("%s: no package comment; say in one sentence what it is for", p.Path))
		}
		for file, n := range p.Lines {
			if n > maxLines {
				wrong = append(wrong, fmt.Sprintf("%s: %d lines; split it before %d", file, n, maxLines))
			}
		}
		wrong = append(wrong, p.State...)
		for _, i := range p.Imports {
			wrong = append(wrong, breach(a, module, p.Path, i)...)
		}
	}
	slices.Sort(wrong)
	return wrong
}

func breach(a *Arrows, module, pkg string, i Import) []string {
	who := pkg
	if i.Test {
		who = "a test of " + pkg
	}
	ours, isOurs := strings.CutPrefix(i.Path, module+"/")
	may, rule := a.mayUse(pkg, i.Path, i.Test)
	if isOurs {
		if _, hasRow := rowOf(a.imports, pkg); !hasRow {
			return nil // told once, for the package
		}
		may, rule = a.mayImport(pkg, ours, i.Test)
	}
	if may {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s must not import %s; %s", i.File, who, i.Path, rule)}
}
