package drill

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

const quickstart = "../catalog/quickstart"

func reference(tb testing.TB) *topology.Topology {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(quickstart, "topology.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	topo, err := topology.Parse("topology.yaml", text)
	if err != nil {
		tb.Fatal(err)
	}
	return topo
}

func shipped(tb testing.TB, name string) *Drill {
	tb.Helper()
	file := filepath.Join(quickstart, "drills", name+".yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	d, err := Parse(file, text, reference(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// slowReference is the reference drill with two requests a second: enough for properties, and quick.
func slowReference(tb testing.TB) *Drill {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(quickstart, "drills", "kill-best-pop.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	d, err := Parse("slow.yaml", bytes.ReplaceAll(text, []byte("20/s"), []byte("2/s")), reference(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// zero is when the clock of all scenes starts.
const zero = int64(1000 * time.Second)

// scene is a lab on paper in which ams dies at 3 s and comes back at 13 s. Its fields are how well the system does.
type scene struct {
	routesMove  time.Duration // from the fault to the routers' change; negative: never
	routesMove6 time.Duration // the same for IPv6 prefixes
	dnsMoves    time.Duration // from the fault to the name servers' change; negative: never
	alter       func(*labs.Sample)
	from, heal  time.Duration // of the fault
}

func goodScene() scene {
	return scene{routesMove: 60 * time.Millisecond, routesMove6: 60 * time.Millisecond, dnsMoves: 1900 * time.Millisecond, from: 3 * time.Second, heal: 13 * time.Second}
}

const ttl = 2 * time.Second

func at(d time.Duration) int64 { return zero + int64(d) }

// anycastHome and geoHome are the reference topology's catchments.
func homes() (anycast, geo map[string]string) {
	anycast = map[string]string{"berlin": "ams", "lisbon": "ams", "saopaulo": "ams", "newyork": "nyc", "tokyo": "sin", "sydney": "sin", "arc": "ams", "bolt": "sin"}
	geo = map[string]string{"berlin": "ams", "lisbon": "ams", "saopaulo": "nyc", "newyork": "nyc", "tokyo": "sin", "sydney": "sin"}
	return anycast, geo
}

// down reports whether a change that takes delay has happened at t and its reverse, at once after the heal, has not.
func (sc scene) moved(t, delay time.Duration) bool {
	return delay >= 0 && t >= sc.from+delay && t < sc.heal+2100*time.Millisecond
}

func (sc scene) dead(t time.Duration) bool { return t >= sc.from && t < sc.heal }

// record plays the scene.
func (sc scene) record(tb testing.TB, d *Drill) *Recording {
	tb.Helper()
	rec := &Recording{Lab: "quickstart", Runner: "paper", Zero: zero, Lets: map[string]string{"best": "ams"}}
	for _, s := range d.Steps {
		rec.Faults = append(rec.Faults, FaultRecord{Fault: s.Fault, At: s.At, Start: at(s.At), Done: at(s.At + time.Millisecond)})
	}
	home, _ := homes()
	for _, n := range d.topo.Internet.Networks {
		status := labs.RouterStatus{Name: n.Name, Best: map[string]labs.BestPath{}}
		for _, p := range d.topo.Anycast.Prefixes {
			status.Best[p.String()] = labs.BestPath{POP: home[n.Name]}
			delay := sc.routesMove
			if p.Addr().Is6() {
				delay = sc.routesMove6
			}
			if home[n.Name] == "ams" && delay >= 0 {
				rec.Events = append(
					rec.Events,
					best(n.Name, p, "nyc", sc.from+delay),
					best(n.Name, p, "ams", sc.heal+2100*time.Millisecond),
				)
			}
		}
		rec.Routers = append(rec.Routers, status)
	}
	if sc.dnsMoves >= 0 {
		rec.Events = append(rec.Events, event.Event{Mono: at(sc.from + sc.dnsMoves), Node: "nyc1", Kind: event.Health, Subject: "pop/ams/web", State: "down", Cause: "2 of 2 observers"})
	}
	for _, p := range clients(d.topo) {
		for _, l := range d.Loads {
			every := time.Duration(float64(time.Second) / l.Rate)
			for s := -time.Second + 7*time.Millisecond; s < d.End-20*time.Millisecond; s += every {
				sample := sc.sample(p, l.Name, s)
				if sc.alter != nil {
					sc.alter(&sample)
				}
				rec.Samples = append(rec.Samples, sample)
			}
		}
	}
	return rec
}

func best(router string, p netip.Prefix, pop string, when time.Duration) event.Event {
	return event.Event{
		Mono: at(when), Node: router, Kind: event.Best, Subject: p.String(), State: "announced",
		Detail: map[string]string{"via": "arc", "pop": pop}, Cause: "path withdrawn",
	}
}

// sample is one request at time s on the clock.
func (sc scene) sample(client, load string, s time.Duration) labs.Sample {
	home, geo := homes()
	out := labs.Sample{Client: client, Load: load, Start: at(s), End: at(s + 10*time.Millisecond), Status: 200, Tries: 1, OK: true}
	moved := sc.moved
	if load == "img" || load == "shared" {
		out.POP = home[client]
		out.DNSAddrs = []netip.Addr{netip.MustParseAddr("192.0.2.80")}
		if out.POP == "ams" && moved(s, sc.routesMove) && moved(s, sc.routesMove6) {
			out.POP = "nyc"
		}
	} else {
		asked := s.Truncate(ttl) // every answer lives for one TTL
		out.POP = geo[client]
		if out.POP == "ams" && moved(asked, sc.dnsMoves) {
			out.POP = "nyc"
		}
		out.DNSPOP, out.DNSTime = out.POP, at(asked)
		out.DNSFresh = s-asked < 50*time.Millisecond
		out.DNSAddrs = []netip.Addr{netip.MustParseAddr("203.0.113.1")}
		out.DNSServer, out.DNSNode = netip.MustParseAddr("192.0.2.53"), "nyc1"
	}
	out.Node = out.POP + "1"
	if out.POP == "ams" && sc.dead(s) {
		out.OK, out.Status, out.Error = false, 0, fmt.Sprintf("connect to %s: connection refused", out.POP)
		out.POP, out.Node = "", ""
	}
	return out
}
