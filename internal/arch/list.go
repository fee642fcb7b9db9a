package arch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listed is what we read of `go list -json`.
type listed struct {
	ImportPath string
	Dir        string
	Doc        string
	Module     *struct{ Path, Dir string }

	GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
}

// List returns the module's path and all its packages, from the module's folder. It reads the files itself, so that a
// package that does not compile, or a file for another system, is checked all the same.
func List(ctx context.Context, dir string) (string, []Package, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-json=ImportPath,Dir,Doc,Module,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...")
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", nil, fmt.Errorf("go list in %q: %w: %s", dir, err, bytes.TrimSpace(stderr.Bytes()))
	}
	var module string
	var packages []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return module, packages, nil
		} else if err != nil {
			return "", nil, fmt.Errorf("decode go list: %w", err)
		}
		if l.Module == nil {
			return "", nil, fmt.Errorf("package %q belongs to no module", l.ImportPath)
		}
		module = l.Module.Path
		p, err := read(l)
		if err != nil {
			return "", nil, err
		}
		packages = append(packages, p)
	}
}

// read takes from a package's files what the checks want to know.
func read(l listed) (Package, error) {
	p := Package{Path: strings.TrimPrefix(strings.TrimPrefix(l.ImportPath, l.Module.Path), "/"), Doc: l.Doc, Lines: map[string]int{}}
	if p.Path == "" {
		p.Path = "."
	}
	production := map[string][]byte{}
	for _, name := range slices.Concat(l.GoFiles, l.CgoFiles, l.IgnoredGoFiles, l.TestGoFiles, l.XTestGoFiles) {
		path := filepath.Join(l.Dir, name)
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed since it was listed
		} else if err != nil {
			return p, err
		}
		rel, err := filepath.Rel(l.Module.Dir, path)
		if err != nil {
			return p, err
		}
		imports, err := importsOf(rel, text)
		if err != nil {
			return p, err
		}
		p.Imports = append(p.Imports, imports...)
		p.Lines[rel] = bytes.Count(text, []byte("\n"))
		if isProduction(rel) {
			production[rel] = text
		}
	}
	var err error
	p.State, err = mutableState(production)
	return p, err
}

func importsOf(file string, text []byte) ([]Import, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, text, parser.ImportsOnly)
	if err != nil {
		return nil, fmt.Errorf("read imports: %w", err)
	}
	var imports []Import
	for _, spec := range parsed.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: import %s: %w", fset.Position(spec.Pos()), spec.Path.Value, err)
		}
		imports = append(imports, Import{
			File: fmt.Sprintf("%s:%d", file, fset.Position(spec.Pos()).Line), Path: path, Test: strings.HasSuffix(file, "_test.go"),
		})
	}
	return imports, nil
}
