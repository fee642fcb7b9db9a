package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
)

// lanes are what the page draws over one axis of time. Times are seconds on the drill's clock.
type lanes struct {
	Length float64   `json:"length"`
	POPs   []string  `json:"pops"` // in the order of their colours
	All    bool      `json:"all"`  // the page holds every request, so that it can draw each
	Faults []row     `json:"faults"`
	Routes []row     `json:"routes"`
	DNS    []row     `json:"dns"`
	Views  []row     `json:"views"`
	Calm   string    `json:"calm"` // which views are not shown, since nothing changed in them
	Fine   float64   `json:"fine"` // the width of the bins of Results
	Result []results `json:"results"`
	Coarse float64   `json:"coarse"` // the width of the bins of Shares
	Shares []share   `json:"shares"`
	Lost   []int     `json:"lost"` // per coarse bin
}

// row is a strip of segments.
type row struct {
	Label    string    `json:"label"`
	Sub      string    `json:"sub,omitempty"`
	Segments []segment `json:"segments"`
	Marks    []float64 `json:"marks,omitempty"` // moments at which something was heard without a change
}

// segment is one state of a row.
type segment struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
	Kind string  `json:"kind"` // pop, anycast, empty, none, unknown, fault, or a health state
	POP  string  `json:"pop,omitempty"`
	Text string  `json:"text"`
	Why  string  `json:"why,omitempty"`
}

// results are one client's requests of one load, by bin.
type results struct {
	Client string `json:"client"`
	Load   string `json:"load"`
	// Bins are good, lost, wrong bodies, and of the good ones the median and the longest latency in milliseconds. A
	// request belongs to the bin in which it ended.
	Bins [][5]int `json:"bins"`
}

// share is what one POP did, by coarse bin.
type share struct {
	POP  string `json:"pop"`
	Good []int  `json:"good"`
	Hits []int  `json:"hits"`
}

// maxBins bounds the bins over the length of a drill.
const maxBins = 300

// binWidth is the narrowest of a few round widths that needs at most n bins.
func binWidth(length float64, n int) float64 {
	for _, w := range []float64{0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60} {
		if length/w <= float64(n) {
			return w
		}
	}
	return math.Ceil(length/float64(n)/60) * 60
}

func newLanes(r *drill.Report, tr *trace, all bool) lanes {
	length := seconds(r.Length)
	l := lanes{
		Length: length, POPs: tr.pops, All: all, Faults: faultRows(r), Routes: tr.routeRows(baseline(r)), DNS: tr.answerRows(r),
		Fine: binWidth(length, maxBins), Coarse: binWidth(length, maxBins/5),
	}
	if l.POPs == nil {
		l.POPs = []string{}
	}
	l.Views, l.Calm = tr.viewRows(r)
	for _, p := range tr.pairs {
		l.Result = append(l.Result, results{p.client, p.load, tr.binned(p, l.Fine)})
	}
	l.Shares, l.Lost = tr.shares(l.Coarse)
	return l
}

// baseline is where the routers' best paths led when the clock started: the first of their spans.
func baseline(r *drill.Report) []labs.RouterStatus {
	var list []labs.RouterStatus
	for _, router := range r.Routers {
		status := labs.RouterStatus{Name: router.Router, Best: map[string]labs.BestPath{}}
		for _, b := range router.Best {
			if _, later := status.Best[b.Prefix]; !later && b.From <= 0 && b.POP != "" {
				status.Best[b.Prefix] = labs.BestPath{Via: b.Via, POP: b.POP}
			}
		}
		list = append(list, status)
	}
	return list
}

// clock is a moment in seconds, to the microsecond.
func clock(s drill.Span) float64 {
	return math.Round(seconds(s)*1e6) / 1e6
}

// faultRows has a row for each thing that was done to a subject.
func faultRows(r *drill.Report) []row {
	type what struct {
		target string
		verb   labs.Verb
	}
	rows := []row{}
	index := map[what]int{}
	for _, f := range r.Faults {
		if undone(f.Verb) {
			end(rows, f)
			continue
		}
		k := what{f.Target, f.Verb}
		i, ok := index[k]
		if !ok {
			i = len(rows)
			index[k] = i
			rows = append(rows, row{Label: f.Target, Sub: string(f.Verb)})
		}
		rows[i].Segments = append(rows[i].Segments, segment{
			From: clock(f.At), To: clock(r.Length), Kind: "fault", Text: strings.TrimSpace(string(f.Verb) + " " + f.Arg),
			Why: fmt.Sprintf("%s, due at %s, begun at %s, done %s later", f.Fault, moment(f.Due), moment(f.At), span(f.Took)),
		})
	}
	return rows
}

// end ends what a step undoes: the last thing of each kind that was done to its subject.
func end(rows []row, f drill.FaultReport) {
	for i := range rows {
		if rows[i].Label != f.Target || f.Verb == labs.Undrain && rows[i].Sub != string(labs.Drain) {
			continue
		}
		last := &rows[i].Segments[len(rows[i].Segments)-1]
		if strings.Contains(last.Why, ", until ") {
			continue
		}
		last.To = clock(f.At)
		last.Why += fmt.Sprintf(", until %s at %s", f.Verb, moment(f.At))
	}
}

// bin is the index of a moment, or -1 outside of the drill. The end belongs to the last bin.
func (tr *trace) bin(mono int64, width float64, n int) int {
	at := tr.at(mono)
	if at < 0 || at > tr.length {
		return -1
	}
	return min(int(seconds(at)/width), n-1)
}

func bins(length drill.Span, width float64) int {
	return max(int(math.Ceil(seconds(length)/width-1e-9)), 1)
}

func (tr *trace) binned(p pair, width float64) [][5]int {
	out := make([][5]int, bins(tr.length, width))
	latencies := make([][]time.Duration, len(out))
	for _, s := range tr.byPair[p] {
		i := tr.bin(s.End, width, len(out))
		if i < 0 {
			continue
		}
		switch {
		case s.WrongBody:
			out[i][2]++
		case !s.OK:
			out[i][1]++
		default:
			out[i][0]++
			latencies[i] = append(latencies[i], time.Duration(s.End-s.Start))
		}
	}
	for i, list := range latencies {
		if len(list) == 0 {
			continue
		}
		longest := list[0]
		for _, d := range list {
			longest = max(longest, d)
		}
		out[i][3], out[i][4] = int(middle(list).Milliseconds()), int(longest.Milliseconds())
	}
	return out
}

// shares counts good answers and hits by POP, and lost requests.
func (tr *trace) shares(width float64) ([]share, []int) {
	n := bins(tr.length, width)
	lost := make([]int, n)
	list := []share{}
	index := map[string]int{}
	for i, pop := range tr.pops {
		index[pop] = i
		list = append(list, share{pop, make([]int, n), make([]int, n)})
	}
	for _, samples := range tr.byPair {
		for _, s := range samples {
			b := tr.bin(s.End, width, n)
			if b < 0 {
				continue
			}
			i, known := index[s.POP]
			switch {
			case !s.OK:
				lost[b]++
			case known:
				list[i].Good[b]++
				if s.Hit {
					list[i].Hits[b]++
				}
			}
		}
	}
	return list, lost
}
