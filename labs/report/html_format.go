package report

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
)

// formats are the template's functions.
func formats() template.FuncMap {
	return template.FuncMap{
		"span":    span,
		"exact":   drill.Span.String,
		"count":   count,
		"percent": percent,
		"moment":  moment,
		"when":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"rfc":     func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"orDash":  orDash,
		"has": func(m map[string]drill.Span, family string) bool {
			_, ok := m[family]
			return ok
		},
	}
}

// span is a length of time as people compare it: three digits, one unit.
func span(s drill.Span) string {
	d := time.Duration(s)
	switch {
	case s == drill.Forever:
		return "forever"
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	case d < 100*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

// moment is a time on the drill's clock, to the millisecond.
func moment(s drill.Span) string {
	return fmt.Sprintf("%.3f s", time.Duration(s).Seconds())
}

// count groups digits: 4,800.
func count(n int) string {
	text := strconv.Itoa(n)
	var b strings.Builder
	for i, c := range text {
		if i > 0 && (len(text)-i)%3 == 0 && text[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

func percent(ratio float64) string {
	return strconv.FormatFloat(ratio*100, 'f', 1, 64) + " %"
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// done tells a verb in the past: "ams was killed".
func done(f drill.FaultReport) string {
	past := map[labs.Verb]string{
		labs.Kill: "was killed", labs.Freeze: "was frozen", labs.Drain: "was drained", labs.Undrain: "was undrained",
		labs.Cut: "was cut", labs.Blackhole: "was made a black hole", labs.Partition: "was partitioned from the rest",
		labs.Mute: "lost its gossip", labs.Slow: "was slowed by " + f.Arg, labs.Lossy: "was made to lose " + f.Arg,
		labs.Skew: "had its clock stepped by " + f.Arg, labs.Fill: "had its disk filled", labs.Heal: "was healed",
	}
	if text, ok := past[f.Verb]; ok {
		return strings.TrimSpace(text)
	}
	return "had " + string(f.Verb) + " done to it"
}

// undone reports whether a verb ends what other verbs began.
func undone(v labs.Verb) bool { return v == labs.Heal || v == labs.Undrain }
