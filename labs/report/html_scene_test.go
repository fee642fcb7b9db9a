package report

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
	"github.com/catchment-net/catchment/topology"
)

const (
	quickstart = "../catalog/quickstart"
	zero       = int64(9_100_000 * time.Second) // of a machine that is up for 105 days: nanoseconds exceed 2^53
	ttl        = 2 * time.Second
)

// scene is a lab on paper in which ams is killed at 3 s and healed at 13 s. The zero value is one in which all goes well.
type scene struct {
	length    time.Duration // zero means 23 s
	rate      int           // requests a second of each client and load; zero means 20
	dnsMoves  time.Duration // from the fault to the name servers' change; zero means 1.2 s
	error     string        // of lost requests; empty means a refused connection
	wrong     bool          // nyc answers a few requests with the wrong body
	empty     bool          // tokyo gets a few empty answers
	expect    string        // further expectations of the window always, as YAML list items
	unwatched bool          // samples and events are not kept
}

func (sc scene) defaults() scene {
	if sc.length == 0 {
		sc.length = 23 * time.Second
	}
	if sc.rate == 0 {
		sc.rate = 20
	}
	if sc.dnsMoves == 0 {
		sc.dnsMoves = 1200 * time.Millisecond
	}
	if sc.error == "" {
		sc.error = "203.0.113.1: connect: connection refused"
	}
	return sc
}

const (
	killed = 3 * time.Second
	healed = 13 * time.Second
	back   = healed + 1900*time.Millisecond
)

// report plays the scene and judges it.
func (sc scene) report(tb testing.TB) *drill.Report {
	tb.Helper()
	sc = sc.defaults()
	text, err := os.ReadFile(quickstart + "/topology.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	topo, err := topology.Parse("topology.yaml", text)
	if err != nil {
		tb.Fatal(err)
	}
	d, err := drill.Parse("drills/kill-best-pop.yaml", fmt.Appendf(nil, `# The POP that serves Berlin dies and comes back.
load:
  www: {get: http://www.shop.example/, rate: %[1]d/s}
  img: {get: http://img.shop.example/, rate: %[1]d/s}
let:
  best: catchment(berlin, img)
at:
  3s: kill best
  13s: heal best
  %[2]v: end
expect:
  always:
    - wrong_bodies == 0
    - empty_answers == 0
    - routes(arc, anycast) > 0
%[3]s
  3s..13s:
    - withdrawal(best) < 100ms
    - outage(*, img) < 1s
    - outage(*, www) < 5s
`, sc.rate, sc.length, sc.expect), topo)
	if err != nil {
		tb.Fatal(err)
	}
	rec := sc.record(topo, d)
	r := drill.Evaluate(d, rec)
	if sc.unwatched {
		return r.Trimmed()
	}
	return r
}

// lands are the catchments of the reference topology: by BGP, and by GeoDNS.
func lands(client string) (anycast, geo string) {
	switch client {
	case "tokyo", "sydney", "bolt":
		return "sin", "sin"
	case "newyork":
		return "nyc", "nyc"
	case "saopaulo":
		return "ams", "nyc"
	}
	return "ams", "ams"
}

func (sc scene) record(topo *topology.Topology, d *drill.Drill) *drill.Recording {
	rec := &drill.Recording{
		Lab: "quickstart", Runner: "paper", Seed: 7, Zero: zero, Started: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Lets: map[string]string{"best": "ams"},
	}
	for _, s := range d.Steps {
		rec.Faults = append(rec.Faults, drill.FaultRecord{Fault: s.Fault, At: s.At, Start: mono(s.At + 900*time.Microsecond), Done: mono(s.At + 3*time.Millisecond)})
	}
	for i, n := range topo.Internet.Networks {
		home, _ := lands(n.Name)
		status := labs.RouterStatus{Name: n.Name, Best: map[string]labs.BestPath{}}
		for j, p := range topo.Anycast.Prefixes {
			status.Best[p.String()] = labs.BestPath{POP: home, Via: "arc"}
			if home == "ams" {
				late := time.Duration(i*200+j*30) * time.Microsecond
				rec.Events = append(rec.Events, bestPath(n.Name, p, "nyc", killed+3*time.Millisecond+late), bestPath(n.Name, p, "ams", healed+70*time.Millisecond+late))
			}
		}
		rec.Routers = append(rec.Routers, status)
		for _, l := range d.Loads {
			if n.Users > 0 {
				rec.Samples = append(rec.Samples, sc.samples(n.Name, l, i)...)
			}
		}
	}
	for i, node := range []string{"nyc1", "sin1"} {
		for j, service := range []string{"dns", "web"} {
			late := time.Duration(i*40+j*7) * time.Millisecond
			rec.Events = append(rec.Events,
				health(node, "pop/ams/"+service, "up", "down", "2 of 2 observers: nyc: 2 probes failed; sin: 2 probes failed", killed+sc.dnsMoves+late),
				health(node, "pop/ams/"+service, "down", "up", "", back+late))
		}
	}
	for _, pop := range []string{"ams", "nyc", "sin"} {
		rec.Events = append(rec.Events, health("ams1", "pop/"+pop+"/web", "unknown", "up", "", healed+200*time.Millisecond))
	}
	return rec
}

func mono(at time.Duration) int64 { return zero + int64(at) }

func bestPath(router string, p netip.Prefix, pop string, when time.Duration) event.Event {
	return event.Event{
		Mono: mono(when), Node: router, Kind: event.Best, Subject: p.String(), State: "announced",
		Cause: "path withdrawn", Detail: map[string]string{"via": "arc", "pop": pop},
	}
}

func health(node, subject, was, is, cause string, when time.Duration) event.Event {
	return event.Event{Mono: mono(when), Node: node, Kind: event.Health, Subject: subject, State: is, Cause: cause, Detail: map[string]string{"was": was}}
}

// samples are one client's requests of one load, from a second before the clock on.
func (sc scene) samples(client string, l labs.Load, n int) []labs.Sample {
	var list []labs.Sample
	every := time.Second / time.Duration(sc.rate)
	phase := time.Duration(n*7+len(l.Name)) * time.Millisecond
	for i := 0; ; i++ {
		s := time.Duration(i)*every - time.Second + phase%every
		if s > sc.length-400*time.Millisecond {
			return list
		}
		list = append(list, sc.sample(client, l.Name, s, i))
	}
}

// sample is the i-th request of a client and load, begun at s on the clock.
func (sc scene) sample(client, load string, s time.Duration, i int) labs.Sample {
	anycast, geo := lands(client)
	latency := time.Duration(8+i*i%11+len(client)*3) * time.Millisecond
	out := labs.Sample{Client: client, Load: load, Start: mono(s), End: mono(s + latency), Status: 200, Tries: 1, OK: true, Hit: i%40 != 0}
	dead := s+latency >= killed && s < healed
	if load == "img" {
		out.POP = anycast
		if anycast == "ams" && s >= killed && s < healed+80*time.Millisecond {
			out.POP = "nyc"
			out.End += int64(80 * time.Millisecond)
		}
		dead = false
		out.DNSAddrs, out.Addr = []netip.Addr{netip.MustParseAddr("192.0.2.80")}, netip.MustParseAddr("192.0.2.80")
		out.DNSTime = mono((s - time.Second).Truncate(ttl))
	} else {
		asked := s.Truncate(ttl)
		out.POP = geo
		if geo == "ams" && asked >= killed+sc.dnsMoves && asked < back {
			out.POP = "nyc"
		}
		out.DNSPOP, out.DNSTime, out.DNSFresh = out.POP, mono(asked), s-asked < time.Second/time.Duration(sc.rate)
		out.DNSAddrs, out.Addr = []netip.Addr{netip.MustParseAddr("203.0.113.1")}, netip.MustParseAddr("203.0.113.1")
	}
	out.DNSServer, out.DNSNode = netip.MustParseAddr("192.0.2.53"), "nyc1"
	out.Node, out.CacheStatus = out.POP+"1", out.POP+"1; hit; ttl=3"
	if out.POP == "ams" && dead {
		out.OK, out.Status, out.Tries, out.Error = false, 0, 4, sc.error
		out.POP, out.Node, out.CacheStatus, out.Hit = "", "", "", false
	}
	if sc.wrong && out.POP == "nyc" && s > 6*time.Second && i%97 == 0 {
		out.OK, out.WrongBody, out.Error = false, true, "byte 12 is 0x3c, want 0x7b"
	}
	if sc.empty && client == "tokyo" && s > 8*time.Second && s < 8*time.Second+300*time.Millisecond {
		out.OK, out.DNSEmpty, out.DNSAddrs, out.DNSPOP, out.Status, out.Error = false, true, nil, "", 0, "no address for www.shop.example"
		out.POP, out.Node, out.CacheStatus, out.Hit = "", "", "", false
	}
	return out
}

// failing is a scene in which three expectations do not hold.
func failing() scene {
	return scene{wrong: true, empty: true, dnsMoves: 4500 * time.Millisecond, expect: "    - lost == 0\n"}
}

// written is the page of some runs.
func written(tb testing.TB, runs ...*drill.Report) []byte {
	tb.Helper()
	var page bytes.Buffer
	if err := HTML(&page, runs); err != nil {
		tb.Fatal(err)
	}
	return page.Bytes()
}
