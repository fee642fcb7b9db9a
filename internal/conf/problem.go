package conf

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Problem is one mistake in a file.
type Problem struct {
	File      string
	Line, Col int    // from 1, Col in characters; 0 where the problem is that of a whole line or file
	What      string // what is wrong
	Fix       string // what would be right
}

// Pos is "file:line:col", as far as known.
func (p Problem) Pos() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Col == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// String is "file:line:col: what; fix".
func (p Problem) String() string {
	s := p.Pos() + ": " + p.What
	if p.Fix != "" {
		s += "; " + p.Fix
	}
	return s
}

// Problems is the error that holds all mistakes of one or more files: files as they were read, and within one file in
// the order of its lines. It is immutable.
type Problems struct {
	List    []Problem
	sources map[string]source // by file, for Render
}

// source is a file's text and what of it must not be shown.
type source struct {
	text    []byte
	secrets []string
}

// Error is one line per problem.
func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, one := range p.List {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// Join merges the *Problems among errs, in their order, into one; other errors are kept beside it (errors.As finds
// both). It is nil if all errs are.
func Join(errs ...error) error {
	merged := &Problems{sources: map[string]source{}}
	var others []error
	for _, err := range errs {
		if err == nil {
			continue
		}
		var p *Problems
		if !errors.As(err, &p) {
			others = append(others, err)
			continue
		}
		merged.List = append(merged.List, p.List...)
		maps.Copy(merged.sources, p.sources)
	}
	switch {
	case len(merged.List) == 0:
		return errors.Join(others...)
	case len(others) == 0:
		return merged
	}
	return errors.Join(append([]error{merged}, others...)...)
}
