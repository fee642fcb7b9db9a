package conf

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The size of an excerpt: at most ten lines, the caret's included.
const (
	linesBefore = 5
	linesAfter  = 3
	maxColumns  = 160 // a longer line is cut around the caret
)

// Render writes every problem, each with an excerpt of its file and a caret under the place. Secrets that were written
// into the file by mistake are masked.
func (p *Problems) Render(w io.Writer) error {
	out := bufio.NewWriter(w)
	for i, one := range p.List {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintln(out, one)
		src, known := p.sources[one.File]
		if known && one.Line > 0 {
			excerpt(out, src, one)
		}
	}
	return out.Flush()
}

// excerpt writes the lines around a problem.
func excerpt(w io.Writer, src source, p Problem) {
	lines := bytes.Split(bytes.TrimSuffix(src.text, []byte("\n")), []byte("\n"))
	if p.Line > len(lines) {
		return
	}
	first, last := max(1, p.Line-linesBefore), min(len(lines), p.Line+linesAfter)
	width := len(fmt.Sprint(last))
	for n := first; n <= last; n++ {
		text, place := printable(lines[n-1], src.secrets), 1
		if n == p.Line {
			text, place = showTab(text, lines[n-1], p.Col), p.Col
		}
		line, col := clip(text, place)
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %*d | %s", width, n, line), " "))
		if n == p.Line && col > 0 {
			fmt.Fprintf(w, "  %*s | %s^\n", width, "", strings.Repeat(" ", col-1))
		}
	}
}

// showTab draws the tab at column col, which would else look like the blanks that it should be.
func showTab(text string, line []byte, col int) string {
	shown, raw := []rune(text), []rune(string(line))
	if col < 1 || col > len(shown) || col > len(raw) || raw[col-1] != '\t' {
		return text
	}
	shown[col-1] = '→'
	return string(shown)
}

// printable makes every character of a line one column wide and hides secrets behind as many asterisks.
func printable(line []byte, secrets []string) string {
	s := string(bytes.TrimRight(line, "\r"))
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, strings.Repeat("*", utf8.RuneCountInString(secret)))
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r == utf8.RuneError:
			return '?'
		}
		return r
	}, s)
}

// clip cuts a long line to the part around column col (from 1) and returns where that column is now.
func clip(line string, col int) (string, int) {
	runes := []rune(line)
	col = min(col, len(runes)+1)
	if len(runes) <= maxColumns {
		return line, col
	}
	start := max(0, min(col-maxColumns/2, len(runes)-maxColumns))
	cut := string(runes[start : start+maxColumns])
	if start+maxColumns < len(runes) {
		cut += "…"
	}
	if start > 0 {
		return "…" + cut, col - start + 1
	}
	return cut, col
}
