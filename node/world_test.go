package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/simnet"
	"github.com/catchment-net/catchment/internal/underlay"
)

const (
	topologyText = `asn: 64500
anycast: {prefixes: [192.0.2.0/24], dns: [192.0.2.53], web: [192.0.2.80]}
pops:
  ams: {at: AMS, unicast: [203.0.113.0/28], nodes: 2}
  nyc: {at: NYC, unicast: [203.0.113.16/28]}
health: {interval: 50ms, rise: 500ms}
`
	siteText = `hosts:
  www.shop.example: {steer: pinned, ttl: 2s}
origin: http://203.0.113.200
`
	zoneText = `$TTL 300
@ SOA ns1 hostmaster 1 3600 600 1209600 60
@ NS ns1
ns1 A 192.0.2.53
`
)

// world is a configuration's folder and a network in memory for the nodes in it. POP ams has nodes ams1 and ams2.
type world struct {
	tb  testing.TB
	dir string
	net *simnet.Network
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb, shortDir(tb), simnet.New(1, simnet.Link{Delay: time.Millisecond})}
	w.write("topology.yaml", topologyText)
	w.write("sites/shop.yaml", siteText)
	w.write("zones/shop.example", zoneText)
	return w
}

// shortDir is a folder whose path leaves room for the name of a unix socket.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "node") //nolint:usetesting // t.TempDir is too long for a unix socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// write puts a file into the folder in one step, as a careful editor does.
func (w *world) write(name, text string) {
	w.tb.Helper()
	path := filepath.Join(w.dir, filepath.FromSlash(name))
	next := filepath.Join(w.dir, ".next")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(next, []byte(text), 0o600), os.Rename(next, path)); err != nil {
		w.tb.Fatal(err)
	}
}

// options are those of a node on the network in memory, without BGP neighbours.
func (w *world) options(name string) Options {
	w.tb.Helper()
	return Options{
		Name: name, Dir: w.dir, State: shortDir(w.tb), Insecure: true, Neighbors: []speaker.Neighbor{},
		Net: ownAddresses{w.net.Host(unicast[name]), unicast[name]}, Events: event.NewRing(event.Options{Node: name}),
	}
}

// unicast is where the nodes of the topology are.
var unicast = map[string]netip.Addr{ //nolint:gochecknoglobals // a constant table
	"ams1": netip.MustParseAddr("203.0.113.1"), "ams2": netip.MustParseAddr("203.0.113.2"), "nyc1": netip.MustParseAddr("203.0.113.17"),
}

// ownAddresses gives each node anycast addresses of its own: the network in memory has each only once.
type ownAddresses struct {
	underlay.Net
	node netip.Addr
}

func (n ownAddresses) mine(address string) string {
	own := n.node.As4()
	return strings.Replace(address, "192.0.2.", fmt.Sprintf("198.18.%d.", own[3]), 1)
}

func (n ownAddresses) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return n.Net.Listen(ctx, network, n.mine(address))
}

func (n ownAddresses) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return n.Net.ListenPacket(ctx, network, n.mine(address))
}

// run runs fn until the test or stop ends it, and fails the test if it ends with an error.
func run(tb testing.TB, fn func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fn(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				tb.Errorf("run ended with: %v", err)
			}
		case <-time.After(limit):
			tb.Error("run did not end")
		}
	}
	tb.Cleanup(stop)
	return stop
}

// limit is how long anything may take that a test waits for.
const limit = 10 * time.Second

// await asks until ok says yes.
func await(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("waited %v for %s", limit, what)
		}
	}
}

// happened returns the first event with that kind, subject and state, or nil.
func happened(r *event.Ring, k event.Kind, subject, state string) *event.Event {
	events, _, _ := r.After(0)
	for _, e := range events {
		if e.Kind == k && e.Subject == subject && e.State == state {
			return &e
		}
	}
	return nil
}

func awaitEvent(tb testing.TB, r *event.Ring, k event.Kind, subject, state string) event.Event {
	tb.Helper()
	var e *event.Event
	await(tb, fmt.Sprintf("event %s %s %s", k, subject, state), func() bool {
		e = happened(r, k, subject, state)
		return e != nil
	})
	return *e
}

// upView reports whether a node's own service is up as it sees itself.
func upView(h *hub, s health.Service) bool {
	v := h.judge.seen.Load()
	return v.Nodes[v.Self].Services[s].State == health.Up
}

// checkLeaks fails the test if goroutines are left when everything that it cleans up has ended. gobgp v3 never ends the
// one that serves a BgpServer.
func checkLeaks(tb testing.TB) {
	tb.Helper()
	before := len(ours())
	tb.Cleanup(func() {
		for end := time.Now().Add(3 * time.Second); len(ours()) > before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				tb.Errorf("%d goroutines before, now:\n\n%s", before, strings.Join(ours(), "\n\n"))
				return
			}
		}
	})
}

// ours are the stacks of the goroutines that ought to end.
func ours() []string {
	buf := make([]byte, 4<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	return slices.DeleteFunc(all, func(stack string) bool { return strings.Contains(stack, "(*BgpServer).Serve(") })
}
