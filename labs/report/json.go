// Package report writes what a drill found for people and for machines. It measures nothing itself: every number is one
// of drill.Report, or counted from the requests and events that it kept.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/catchment-net/catchment/labs/drill"
)

// JSON writes one run as it is, and several as a drill.Series. Samples and events are left out unless asked for.
func JSON(w io.Writer, runs []*drill.Report, samples bool) error {
	if len(runs) == 0 {
		return errors.New("write a JSON report: no run")
	}
	kept := make([]*drill.Report, len(runs))
	for i, r := range runs {
		if kept[i] = r; !samples {
			kept[i] = r.Trimmed()
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	var v any = kept[0]
	if len(kept) > 1 {
		v = drill.Series{Summary: drill.Summarize(runs), Runs: kept}
	}
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write a JSON report: %w", err)
	}
	return nil
}

// Read loads the runs of a report: a file that JSON wrote, or the folder that holds it as report.json.
func Read(path string) ([]*drill.Report, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "report.json")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	runs, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("read report %q: %w", path, err)
	}
	return runs, nil
}

func decode(text []byte) ([]*drill.Report, error) {
	var several drill.Series
	if err := json.Unmarshal(text, &several); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if len(several.Runs) == 0 {
		var one drill.Report
		if err := json.Unmarshal(text, &one); err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
		several.Runs = []*drill.Report{&one}
	}
	for _, r := range several.Runs {
		if r == nil || r.Drill == "" {
			return nil, errors.New("it is no drill's report; want a report.json of `catchment drill run --report`")
		}
	}
	return several.Runs, nil
}

// Write fills a folder with every form of the report: report.html, report.json,
// report.md, junit.xml, samples.csv and events.jsonl.
// Samples and events are in report.json only if asked for.
func Write(dir string, runs []*drill.Report, samples bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make report folder: %w", err)
	}
	forms := []struct {
		name  string
		write func(io.Writer) error
	}{
		{"report.json", func(w io.Writer) error { return JSON(w, runs, samples) }},
		{"report.html", func(w io.Writer) error { return HTML(w, runs) }},
		{"report.md", func(w io.Writer) error { return Markdown(w, runs) }},
		{"junit.xml", func(w io.Writer) error { return JUnit(w, runs) }},
		{"samples.csv", func(w io.Writer) error { return SamplesCSV(w, runs) }},
		{"events.jsonl", func(w io.Writer) error { return EventLines(w, runs) }},
	}
	for _, f := range forms {
		if err := writeFile(filepath.Join(dir, f.name), f.write); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	err = errors.Join(write(f), f.Close())
	if err != nil {
		return fmt.Errorf("write report %q: %w", name, err)
	}
	return nil
}
