//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// table gathers the rounds.
type table struct {
	servers []*server
	rounds  map[*server][]measurement
}

func newTable(servers []*server) *table {
	return &table{servers: servers, rounds: map[*server][]measurement{}}
}

func (t *table) add(s *server, m measurement) { t.rounds[s] = append(t.rounds[s], m) }

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (t *table) median(s *server, of func(measurement) float64) float64 {
	var values []float64
	for _, m := range t.rounds[s] {
		values = append(values, of(m))
	}
	return median(values)
}

// ratio is the median over the rounds of one server's figure to another's in the same round.
func (t *table) ratio(a, b *server, of func(measurement) float64) float64 {
	var values []float64
	for i, m := range t.rounds[a] {
		values = append(values, of(m)/of(t.rounds[b][i]))
	}
	return median(values)
}

func (t *table) find(name string) *server {
	for _, s := range t.servers {
		if s.name == name {
			return s
		}
	}
	return nil
}

func (t *table) write(w io.Writer) {
	flood := func(m measurement) float64 { return m.flood }
	calm := func(m measurement) float64 { return m.calm }
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	fmt.Fprintln(w, "| server | flood q/CPU-s | x gdnsd | x Knot | q/s, share of the core | calm q/CPU-s | x gdnsd | p50 · p99 us | RSS MiB |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|")
	against := func(s *server, name string, of func(measurement) float64) string {
		if other := t.find(name); other != nil && other != s {
			return fmt.Sprintf("%.2f", t.ratio(s, other, of))
		}
		return ""
	}
	for _, s := range t.servers {
		fmt.Fprintf(w, "| %s | %.0fk | %s | %s | %.0fk, %.2f | %.1fk | %s | %.0f · %.0f | %.0f |\n", s.name,
			t.median(s, flood)/1000, against(s, "gdnsd", flood), against(s, "knot", flood),
			t.median(s, func(m measurement) float64 { return m.rate })/1000, t.median(s, func(m measurement) float64 { return m.share }),
			t.median(s, calm)/1000, against(s, "gdnsd", calm),
			t.median(s, func(m measurement) float64 { return micros(m.p50) }), t.median(s, func(m measurement) float64 { return micros(m.p99) }),
			t.median(s, func(m measurement) float64 { return m.memory }))
	}
}
