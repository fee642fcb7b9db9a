package report

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/catchment-net/catchment/labs"
)

// table is a list of samples by column, a fifth of the size of the same list as objects. The page's script turns it back
// into exactly what the JSON report holds.
type table struct {
	Zero    string   `json:"zero"` // of the columns with `at`; a string since JavaScript's numbers end at 2^53
	Rows    int      `json:"rows"`
	Columns []column `json:"columns"`
}

// column is one field of all samples: moments in nanoseconds after zero, or indexes of values; null and -1 where it is
// absent. A field that is the same in every sample has no list.
type column struct {
	Name   string            `json:"name"`
	At     []*int64          `json:"at,omitempty"`
	Values []json.RawMessage `json:"values,omitempty"`
	Index  []int             `json:"index,omitempty"`
}

// moments are the fields that hold a moment.
func moments() []string { return []string{"start", "end", "dns_time"} }

// columns never fails: a field that does not encode could not have been recorded.
func columns(list []labs.Sample, zero int64) table {
	t := table{Zero: strconv.FormatInt(zero, 10), Rows: len(list), Columns: []column{}}
	var names []string
	rows := make([]map[string]json.RawMessage, len(list))
	for i, s := range list {
		text, err := json.Marshal(s)
		if err == nil {
			err = json.Unmarshal(text, &rows[i])
		}
		if err != nil {
			continue
		}
		for name := range rows[i] {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if slices.Contains(moments(), name) {
			t.Columns = append(t.Columns, momentColumn(name, rows, zero))
			continue
		}
		t.Columns = append(t.Columns, valueColumn(name, rows))
	}
	return t
}

func momentColumn(name string, rows []map[string]json.RawMessage, zero int64) column {
	c := column{Name: name, At: make([]*int64, len(rows))}
	for i, row := range rows {
		if mono, err := strconv.ParseInt(string(row[name]), 10, 64); err == nil {
			offset := mono - zero
			c.At[i] = &offset
		}
	}
	return c
}

func valueColumn(name string, rows []map[string]json.RawMessage) column {
	c := column{Name: name, Index: make([]int, len(rows))}
	known := map[string]int{}
	absent := false
	for i, row := range rows {
		text, ok := row[name]
		if !ok {
			c.Index[i], absent = -1, true
			continue
		}
		n, ok := known[string(text)]
		if !ok {
			n = len(c.Values)
			known[string(text)] = n
			c.Values = append(c.Values, text)
		}
		c.Index[i] = n
	}
	if len(c.Values) == 1 && !absent {
		c.Index = nil
	}
	return c
}
