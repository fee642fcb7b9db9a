package daemon

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Table is a command's output in columns, wide enough for their longest cell; plain text, no colours, so that it can be
// pasted and cut. The zero value is ready for use.
type Table struct {
	rows [][]string
}

// NewTable begins a table with its head.
func NewTable(head ...string) *Table {
	t := &Table{}
	t.Row(head...)
	return t
}

// Row adds a row. An empty cell is printed as "-", so that every line has the same number of words for awk.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, cells) }

// Len is the number of rows below the head.
func (t *Table) Len() int { return max(len(t.rows)-1, 0) }

// WriteTo prints the table. Two spaces part the columns, and no line ends in one.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	widths := t.widths()
	var b strings.Builder
	for _, row := range t.rows {
		for i, cell := range row {
			cell = shown(cell)
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

func (t *Table) widths() []int {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(shown(cell)))
		}
	}
	return widths
}

// shown is a cell as it is printed: control characters would break the columns, or the terminal.
func shown(cell string) string {
	cell = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, cell)
	if cell == "" {
		return "-"
	}
	return cell
}
