package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// mutableState returns the package-level variables of one package that change while the program runs (style.md, rule
// 11): those that a function assigns to, those that hold a lock, an atomic value or a channel. Tables, sentinel errors
// and regular expressions are fine: nobody writes to them. files are the package's production files by name.
//
// It works on syntax alone, so a table that is passed on and changed elsewhere escapes it.
func mutableState(files map[string][]byte) ([]string, error) {
	s := stateFinder{fset: token.NewFileSet(), vars: map[string]token.Pos{}}
	var parsed []*ast.File
	for name, text := range files {
		f, err := parser.ParseFile(s.fset, name, text, 0)
		if err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
		parsed = append(parsed, f)
	}
	for _, f := range parsed {
		s.declared(f)
	}
	for _, f := range parsed {
		s.changed(f)
	}
	slices.Sort(s.wrong)
	return s.wrong, nil
}

// stateFinder looks at one package.
type stateFinder struct {
	fset  *token.FileSet
	vars  map[string]token.Pos // the package-level variables
	wrong []string
}

func (s *stateFinder) report(pos token.Pos, what, name string) {
	at := s.fset.Position(pos)
	s.wrong = append(s.wrong, fmt.Sprintf("%s:%d: package-level %s %s; let it come in by Options (style.md, rule 11)", at.Filename, at.Line, name, what))
}

// declared notes the variables of a file and reports those that can only be state.
func (s *stateFinder) declared(f *ast.File) {
	for _, d := range f.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, spec := range decl.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			for _, name := range v.Names {
				if name.Name == "_" {
					continue
				}
				s.vars[name.Name] = name.Pos()
				if isLive(v.Type) || slices.ContainsFunc(v.Values, isLive) {
					s.report(name.Pos(), "holds a lock, an atomic value or a channel", name.Name)
				}
			}
		}
	}
}

// isLive reports whether a type or value has a part that exists only to change.
func isLive(e ast.Expr) bool {
	live := false
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case nil, *ast.FuncLit:
			return false
		case *ast.ChanType:
			live = true
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && (pkg.Name == "sync" || pkg.Name == "atomic") {
				live = true
			}
		}
		return !live
	})
	return live
}

// changed reports what a file's functions assign to.
func (s *stateFinder) changed(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, left := range n.Lhs {
					s.target(left)
				}
			}
		case *ast.IncDecStmt:
			s.target(n.X)
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				s.target(n.Key)
				s.target(n.Value)
			}
		case *ast.CallExpr:
			if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "delete" || fn.Name == "clear" || fn.Name == "copy") && len(n.Args) > 0 {
				s.target(n.Args[0])
			}
		}
		return true
	})
}

// target reports an assignment whose leftmost name is a package-level variable.
func (s *stateFinder) target(e ast.Expr) {
	for {
		switch x := e.(type) {
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.Ident:
			declared, ok := s.vars[x.Name]
			if !ok || x.Obj != nil && x.Obj.Pos() != declared { // x.Obj is a local variable of that name
				return
			}
			s.report(x.Pos(), "is changed here", x.Name)
			return
		default:
			return
		}
	}
}

// isProduction reports whether a file is part of what is shipped.
func isProduction(file string) bool { return !strings.HasSuffix(file, "_test.go") }
