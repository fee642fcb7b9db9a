package report

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"strings"

	"github.com/catchment-net/catchment/labs/drill"
)

// assets are the page's template, style and scripts. They go into the page as they are: nothing is built, nothing is
// loaded.
//
//go:embed assets
var assets embed.FS

// HTML writes one or several runs of one drill as a page that needs nothing but itself: no server, no network, no other
// file. It shows what the reports hold; lanes need reports with Samples and Events. All that comes from outside, such as
// error texts, is escaped, and the page forbids itself any script but its own (Content-Security-Policy).
func HTML(w io.Writer, runs []*drill.Report) error {
	if len(runs) == 0 {
		return errors.New("write an HTML report: no run")
	}
	p, err := newPage(runs)
	if err != nil {
		return fmt.Errorf("write an HTML report of %q: %w", runs[0].Drill, err)
	}
	t, err := template.New("page.html").Funcs(formats()).ParseFS(assets, "assets/*.html")
	if err != nil {
		return fmt.Errorf("read the HTML report's template: %w", err)
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("write an HTML report of %q: %w", runs[0].Drill, err)
	}
	return nil
}

// page is what the template prints.
type page struct {
	Title   string
	Policy  string // the Content-Security-Policy
	Style   template.CSS
	Script  template.JS
	Runs    []*run
	Summary *summary // of several runs
}

func newPage(reports []*drill.Report) (*page, error) {
	style, err := joined("*.css")
	if err != nil {
		return nil, err
	}
	script, err := joined("*.js")
	if err != nil {
		return nil, err
	}
	script = "(() => {\n'use strict';\n" + script + "})();\n"
	p := &page{
		Title: reports[0].Drill, Style: template.CSS(style), Script: template.JS(script),
		Policy: fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; img-src data:; base-uri 'none'; form-action 'none'",
			digest(style), digest(script)),
	}
	for i, r := range reports {
		one, err := newRun(r, i, len(reports))
		if err != nil {
			return nil, err
		}
		p.Runs = append(p.Runs, one)
	}
	if len(reports) > 1 {
		p.Summary = summarize(p.Runs)
	}
	return p, nil
}

// joined is all assets that match, in the order of their names.
func joined(pattern string) (string, error) {
	names, err := fs.Glob(assets, "assets/"+pattern)
	if err != nil {
		return "", fmt.Errorf("list assets %q: %w", pattern, err)
	}
	var all strings.Builder
	for _, name := range names {
		text, err := assets.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read asset %q: %w", name, err)
		}
		all.Write(text)
	}
	return all.String(), nil
}

// digest names a text as a Content-Security-Policy does.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
