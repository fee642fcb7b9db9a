package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/internal/conf"
)

type drawn struct{}

func (drawn) Error() string { return "eu.yaml:4:12: bad" }
func (drawn) Render(w io.Writer) error {
	_, err := io.WriteString(w, "eu.yaml:4:12: bad\n  4 | x\n")
	return err
}

// What the reader of files returns is what Report can draw.
var _ interface{ Render(w io.Writer) error } = (*conf.Problems)(nil)

type refused struct{}

func (refused) Error() string { return "refused" }
func (refused) ExitCode() int { return 1 }

func TestReport(t *testing.T) {
	tests := []struct {
		name string
		err  error
		code int
		out  string
	}{
		{"nothing", nil, 0, ""},
		{"plain", errors.New("no"), 1, "x: no\n"},
		{"with a status", fmt.Errorf("check: %w", &ExitError{BadInput, errors.New("bad flag")}), 2, "x: check: bad flag\n"},
		{"a status of its own", fmt.Errorf("drain: %w", refused{}), 1, "x: drain: refused\n"},
		{"a status is never replaced", WithCode(BadInput, refused{}), 1, "x: refused\n"},
		{"shows itself", fmt.Errorf("load: %w", drawn{}), 2, "eu.yaml:4:12: bad\n  4 | x\n"},
		{"shows itself, another status", WithCode(No, drawn{}), 1, "eu.yaml:4:12: bad\n  4 | x\n"},
		{"joined", WithCode(BadInput, errors.Join(errors.New("a"), drawn{}, errors.New("b"))), 2, "x: a\neu.yaml:4:12: bad\n  4 | x\nx: b\n"},
		{"several in one text", fmt.Errorf("not %w but %w", errors.New("a"), errors.New("b")), 1, "x: not a but b\n"},
		{"all is said", &ExitError{Code: No}, 1, ""},
		{"interrupted", context.Canceled, 1, "x: interrupted\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if code := Report(&out, "x", tt.err); code != tt.code || out.String() != tt.out {
				t.Errorf("got %d %q, want %d %q", code, out.String(), tt.code, tt.out)
			}
		})
	}
}

func TestTable(t *testing.T) {
	tbl := NewTable("POP", "STATE", "CAUSE")
	tbl.Row("ams", "up", "")
	tbl.Row("singapur-ost", "down", "3 probes failed:\nconnection refused")
	tbl.Row("zürich", "", "")
	var out strings.Builder
	if _, err := tbl.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"POP           STATE  CAUSE\n" +
		"ams           up     -\n" +
		"singapur-ost  down   3 probes failed: connection refused\n" +
		"zürich        -      -\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if tbl.Len() != 3 {
		t.Errorf("rows: got %d, want 3", tbl.Len())
	}
}
