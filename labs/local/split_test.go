package local

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

// The addresses of the reference lab that the tests below ask.
const (
	amsAddr = "203.0.113.1"
	nycAddr = "203.0.113.17"
)

// When each node is three processes, the death of one of them leaves the others as they are (design §4), and the hub
// hears of it from the kernel rather than from a probe.
func TestOneProcessOfANodeDies(t *testing.T) {
	o := quickstart(t)
	o.Split = true
	before := takeStock(t)
	l := up(t, o)
	s := &split{Lab: l, berlin: l.world.Users[0].Net, reports: newReports(t, l)}
	for name, pid := range pids(t, l) {
		if !alive(pid) {
			t.Fatalf("%s does not run", name)
		}
	}
	t.Run("popd is killed", s.popdKilled)
	t.Run("dnsd is killed", s.dnsdKilled)
	t.Run("bgpd is killed", s.bgpdKilled)
	t.Run("popd is frozen", s.popdFrozen)
	s.reports.end()
	down(t, l)
	before.compare(t, 8)
}

// split is a lab of three processes a node, seen from Berlin, whose anycast addresses lead to ams.
type split struct {
	*Lab
	berlin  underlay.Net
	reports *reports
}

func (s *split) popdKilled(t *testing.T) {
	before := pids(t, s.Lab)
	fault := s.do(t, labs.Kill, "ams1/popd")
	for _, p := range s.topo.Anycast.Prefixes {
		s.within(t, fault, 100*time.Millisecond, func(e event.Event) bool { return left("arc", p.String(), "ams", e) })
		s.within(t, fault, 100*time.Millisecond, func(e event.Event) bool {
			return e.Node == "ams1" && e.Kind == event.Announce && e.Subject == p.String() && e.State == "withdrawn" && strings.Contains(e.Cause, "popd died")
		})
	}
	s.within(t, fault, 100*time.Millisecond, func(e event.Event) bool {
		return e.Node == "ams1" && e.Kind == event.Process && e.Subject == "popd" && e.State == "gone"
	})
	s.awaitSteered(t, amsAddr, "nyc", 500*time.Millisecond) // its own name server knows first
	s.awaitSteered(t, nycAddr, "nyc", time.Second)
	others(t, s.Lab, before, "ams1/popd")

	healed := s.do(t, labs.Heal, "ams1/popd")
	back := s.within(t, healed, 10*time.Second, func(e event.Event) bool { return returned("arc", "192.0.2.0/24", "ams", e) })
	if waited := time.Duration(back.Mono - healed); waited < s.topo.Health.Rise {
		t.Errorf("ams is back after %v, before it was good for %v", waited, s.topo.Health.Rise)
	}
	s.awaitSteered(t, nycAddr, "ams", 5*time.Second)
}

func (s *split) dnsdKilled(t *testing.T) {
	before := pids(t, s.Lab)
	fault := s.do(t, labs.Kill, "ams1/dnsd")
	for _, p := range s.topo.Anycast.Prefixes {
		s.within(t, fault, 100*time.Millisecond, func(e event.Event) bool { return left("arc", p.String(), "ams", e) })
	}
	s.within(t, fault, 100*time.Millisecond, func(e event.Event) bool {
		return e.Node == "ams1" && e.Kind == event.Announce && e.State == "withdrawn" && strings.Contains(e.Cause, "dnsd died")
	})
	if status, member, err := s.get(t, amsAddr); err != nil || status != http.StatusOK || member != "ams1" {
		t.Errorf("popd of ams1 answers %d from %q: %v; want 200 from ams1", status, member, err)
	}
	if _, err := s.steered(t, amsAddr); err == nil {
		t.Error("the dead dnsd answers")
	}
	others(t, s.Lab, before, "ams1/dnsd")

	healed := s.do(t, labs.Heal, "ams1/dnsd")
	s.within(t, healed, 15*time.Second, func(e event.Event) bool { return returned("arc", "192.0.2.0/24", "ams", e) })
	if pop, err := s.steered(t, amsAddr); err != nil || pop != "ams" {
		t.Errorf("the new dnsd steers Berlin to %q: %v; want ams", pop, err)
	}
}

// The hub's death takes the routes, and with them every way from outside; its daemons go on, and a host beside them in
// the POP gets their answers. The new hub takes them over as they are.
func (s *split) bgpdKilled(t *testing.T) {
	before := pids(t, s.Lab)
	fault := s.do(t, labs.Kill, "ams1/bgpd")
	for _, p := range s.topo.Anycast.Prefixes {
		s.within(t, fault, 100*time.Millisecond, func(e event.Event) bool { return left("arc", p.String(), "ams", e) })
	}
	s.awaitSteered(t, nycAddr, "nyc", 4*time.Second) // by the observers: nobody is left to tell
	if _, err := s.steered(t, amsAddr); err == nil {
		t.Error("Berlin still reaches the unicast address of a POP without BGP")
	}
	beside := s.beside(t, "ams1")
	others(t, s.Lab, before, "ams1/bgpd")
	if pop, err := askDNS(t.Context(), s.topo, beside, amsAddr); err != nil || pop == "" {
		t.Errorf("dnsd of ams1 gives its own POP %q: %v; want an answer", pop, err)
	}
	if status, member, err := getFrom(t.Context(), beside, amsAddr); err != nil || status != http.StatusOK || member != "ams1" {
		t.Errorf("popd of ams1 gives its own POP %d from %q: %v; want what it has stored", status, member, err)
	}

	healed := s.do(t, labs.Heal, "ams1/bgpd")
	for _, p := range s.topo.Anycast.Prefixes {
		s.within(t, healed, 10*time.Second, func(e event.Event) bool { return returned("arc", p.String(), "ams", e) })
	}
	others(t, s.Lab, before, "ams1/bgpd")
	s.awaitSteered(t, nycAddr, "ams", 5*time.Second)
	if pop, err := s.steered(t, amsAddr); err != nil || pop != "ams" {
		t.Errorf("dnsd of ams1 steers Berlin to %q: %v; want ams", pop, err)
	}
}

// hangLimit is three probes and what a busy machine excuses (probe.Options.Pressure), with as much again for it.
const hangLimit = time.Second

// A popd that hangs closes nothing, so only probes can tell.
func (s *split) popdFrozen(t *testing.T) {
	before := pids(t, s.Lab)
	fault := s.do(t, labs.Freeze, "ams1/popd")
	for _, p := range s.topo.Anycast.Prefixes {
		s.within(t, fault, hangLimit, func(e event.Event) bool { return left("arc", p.String(), "ams", e) })
	}
	s.within(t, fault, hangLimit, func(e event.Event) bool {
		return e.Node == "ams1" && e.Kind == event.Health && e.Subject == "node/ams1/web" && e.State == "down"
	})
	s.awaitSteered(t, nycAddr, "nyc", time.Second)
	if pop, err := s.steered(t, amsAddr); err != nil || pop != "nyc" {
		t.Errorf("dnsd of ams1 steers Berlin to %q: %v; want nyc", pop, err)
	}
	s.do(t, labs.Heal, "ams1/popd")
	others(t, s.Lab, before, "")
}

// do carries out a fault and returns when that was, by the clock of events.
func (s *split) do(t *testing.T, verb labs.Verb, subject string) int64 {
	t.Helper()
	at := event.Mono()
	if err := s.Do(t.Context(), labs.Fault{Verb: verb, Subject: subject}); err != nil {
		t.Fatal(err)
	}
	return at
}

// within awaits an event that came after a moment, and fails if it came later than limit after it. How long the test
// itself takes to see it does not count.
func (s *split) within(t *testing.T, from int64, limit time.Duration, match func(event.Event) bool) event.Event {
	t.Helper()
	e, instead := s.reports.await(from, limit+5*time.Second, match)
	took := time.Duration(e.Mono - from)
	if instead != nil {
		t.Fatalf("the event has not come %v after the fault; these have:\n%s", limit+5*time.Second, strings.Join(instead, "\n"))
	}
	t.Logf("after %v: %s %s %s %s (%s)", took.Round(100*time.Microsecond), e.Node, e.Kind, e.Subject, e.State, e.Cause)
	if took > limit {
		t.Errorf("%s %s %s %s (%s) came after %v, want at most %v", e.Node, e.Kind, e.Subject, e.State, e.Cause, took, limit)
	}
	return e
}

// left says that a router's best path for a prefix leads no more to a POP.
func left(router, prefix, pop string, e event.Event) bool {
	return e.Node == router && e.Kind == event.Best && e.Subject == prefix && (e.State == "withdrawn" || e.Detail["pop"] != pop)
}

func returned(router, prefix, pop string, e event.Event) bool {
	return e.Node == router && e.Kind == event.Best && e.Subject == prefix && e.Detail["pop"] == pop
}

// others checks that all processes but one are those that they were.
func others(t *testing.T, l labs.Lab, before map[string]int, but string) {
	t.Helper()
	now := pids(t, l)
	for name, pid := range before {
		if name != but && (now[name] != pid || !alive(pid)) {
			t.Errorf("%s was process %d and is %d", name, pid, now[name])
		}
	}
}

// steered is the POP whose addresses Berlin gets from a name server.
func (s *split) steered(t *testing.T, server string) (string, error) {
	t.Helper()
	return askDNS(t.Context(), s.topo, s.berlin, server)
}

func (s *split) awaitSteered(t *testing.T, server, want string, limit time.Duration) {
	t.Helper()
	await(t, limit, fmt.Sprintf("%s steers Berlin to %s", server, want), func() (bool, string) {
		pop, err := s.steered(t, server)
		return pop == want, fmt.Sprintf("%q, %v", pop, err)
	})
}

func (s *split) get(t *testing.T, server string) (int, string, error) {
	t.Helper()
	return getFrom(t.Context(), s.berlin, server)
}

// beside is the network of a host in a node's POP: a further connection to the fabric with the node's own addresses.
func (s *split) beside(t *testing.T, node string) underlay.Net {
	t.Helper()
	n, err := underlay.NewLab(underlay.LabOptions{Socket: s.state.File("fabric.sock"), Node: node, Bind: s.plan.nodes[node]})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// askDNS asks a name server for the site's host and returns the POP whose addresses it gives; an answer without any is
// an error.
func askDNS(ctx context.Context, topo *topology.Topology, n underlay.Net, server string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := n.DialContext(ctx, "udp", net.JoinHostPort(server, "53"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	co := &dns.Conn{Conn: conn}
	q := new(dns.Msg).SetQuestion("www.shop.example.", dns.TypeA)
	q.SetEdns0(1232, false)
	if err := co.WriteMsg(q); err != nil {
		return "", err
	}
	a, err := co.ReadMsg()
	if err != nil {
		return "", err
	}
	for _, rr := range a.Answer {
		if rr, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(rr.A.To4())
			for _, p := range topo.POPs {
				if slices.ContainsFunc(p.Unicast, func(u netip.Prefix) bool { return u.Contains(addr) }) {
					return p.Name, nil
				}
			}
		}
	}
	return "", fmt.Errorf("no address of a POP in %v", a)
}

// getFrom asks a POP for the site's first page and returns the status and the last member of Cache-Status: who answered.
func getFrom(ctx context.Context, n underlay.Net, server string) (status int, member string, err error) {
	transport := &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server+"/", nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = "www.shop.example"
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	members := strings.Split(resp.Header.Get("Cache-Status"), ",")
	member, _, _ = strings.Cut(strings.TrimSpace(members[len(members)-1]), ";")
	return resp.StatusCode, member, nil
}

// reports keeps all events of a lab, and lets tests await one.
type reports struct {
	mu   sync.Mutex // guards the following
	all  []event.Event
	wake chan struct{}

	stop context.CancelFunc
	done chan struct{}
}

func newReports(t *testing.T, l labs.Lab) *reports {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &reports{wake: make(chan struct{}), stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		if err := l.Events(ctx, r.add); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "events:", err)
		}
	}()
	t.Cleanup(r.end)
	return r
}

func (r *reports) add(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, e)
	close(r.wake)
	r.wake = make(chan struct{})
}

func (r *reports) end() {
	r.stop()
	<-r.done
}

// await returns the first event after a moment that matches; when it does not come within limit, what came instead.
func (r *reports) await(from int64, limit time.Duration, match func(event.Event) bool) (found event.Event, instead []string) {
	timeout := time.After(limit)
	for next := 0; ; {
		r.mu.Lock()
		news, wake := r.all[next:], r.wake
		r.mu.Unlock()
		for _, e := range news {
			next++
			if e.Mono < from {
				continue
			}
			if match(e) {
				return e, nil
			}
			instead = append(instead, fmt.Sprintf("%v %s %s %s %s (%s) %v", time.Duration(e.Mono-from), e.Node, e.Kind, e.Subject, e.State, e.Cause, e.Detail))
		}
		select {
		case <-wake:
		case <-timeout:
			return event.Event{}, append(instead, "and nothing else")
		}
	}
}
