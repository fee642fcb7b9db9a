package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
)

// sampleHeader names the columns of samples.csv. Times are seconds on the drill's clock.
func sampleHeader() []string {
	return []string{
		"run", "client", "load", "start_s", "end_s", "ok", "status", "wrong_body", "tries", "pop", "node", "addr", "hit", "cache_status",
		"dns_pop", "dns_addrs", "dns_fresh", "dns_empty", "dns_time_s", "dns_server", "dns_node", "dns_error", "error", "views",
	}
}

// SamplesCSV writes a line for every request of every run, those before the clock started included (RFC 4180).
func SamplesCSV(w io.Writer, runs []*drill.Report) error {
	c := csv.NewWriter(w)
	if err := c.Write(sampleHeader()); err != nil {
		return fmt.Errorf("write samples: %w", err)
	}
	for _, r := range runs {
		for _, s := range r.Samples {
			if err := c.Write(sampleLine(r, s)); err != nil {
				return fmt.Errorf("write samples: %w", err)
			}
		}
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("write samples: %w", err)
	}
	return nil
}

func sampleLine(r *drill.Report, s labs.Sample) []string {
	onClock := func(mono int64) string {
		if mono == 0 {
			return ""
		}
		return fmt.Sprintf("%.6f", float64(mono-r.Zero)/1e9)
	}
	addr := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	var addrs, views []string
	for _, a := range s.DNSAddrs {
		addrs = append(addrs, a.String())
	}
	for _, v := range s.Views {
		answer := v.Answer
		if v.Error != "" {
			answer = "!" + v.Error
		}
		views = append(views, fmt.Sprintf("%s@%s=%s", v.Node, v.Server, answer))
	}
	return []string{
		strconv.Itoa(max(r.Run, 1)), s.Client, s.Load, onClock(s.Start), onClock(s.End), strconv.FormatBool(s.OK), strconv.Itoa(s.Status),
		strconv.FormatBool(s.WrongBody), strconv.Itoa(s.Tries), s.POP, s.Node, addr(s.Addr), strconv.FormatBool(s.Hit), s.CacheStatus,
		s.DNSPOP, strings.Join(addrs, " "), strconv.FormatBool(s.DNSFresh), strconv.FormatBool(s.DNSEmpty), onClock(s.DNSTime),
		addr(s.DNSServer), s.DNSNode, s.DNSError, s.Error, strings.Join(views, "; "),
	}
}

// EventLines writes a JSON object for every event of every run, a line each, with the run and the time on its clock.
func EventLines(w io.Writer, runs []*drill.Report) error {
	enc := json.NewEncoder(w)
	for _, r := range runs {
		for _, e := range r.Events {
			line := struct {
				Run int        `json:"run"`
				At  drill.Span `json:"at_s"`
				event.Event
			}{max(r.Run, 1), drill.Span(e.Mono - r.Zero), e}
			if err := enc.Encode(line); err != nil {
				return fmt.Errorf("write events: %w", err)
			}
		}
	}
	return nil
}
