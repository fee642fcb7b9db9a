// Package labs is the contract between a lab, the runner that brings it up, and the drills that break it.
//
// A lab is a folder: topology.yaml, sites/, zones/, drills/. A runner brings it up; what is up is a Lab.
package labs

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// Lab is a lab that is up. Its methods are safe for concurrent use.
type Lab interface {
	// Topology is the network that the lab runs.
	Topology() *topology.Topology
	// Status tells where every client lands now and what runs.
	Status(ctx context.Context) (*Status, error)
	// Settle waits until the lab stands as it did when it came up, whatever was done to it since, and lets its users and
	// resolvers forget what they have learned, so that one drill does not see the traces of another.
	Settle(ctx context.Context) error
	// Do carries out one fault, or undoes it, and returns when it is done (not when its effects have passed).
	Do(ctx context.Context, f Fault) error
	// Sample runs the loads from their clients until ctx is done, and calls fn for every request when it has ended.
	// Calls of fn do not overlap.
	Sample(ctx context.Context, loads []Load, fn func(Sample)) error
	// Events calls fn for every event of every node, router and fault from now on, until ctx is done. Calls of fn do
	// not overlap. Events of one source come in order; those of several are as close to it as their arrival. Where
	// the routers' best paths led before is in Status.
	Events(ctx context.Context, fn func(event.Event)) error
	// Exec runs a command on a node, in the node's own surroundings.
	Exec(ctx context.Context, node string, argv []string, stdout, stderr io.Writer) error
	// Capture writes what crosses a link, as a pcap file, until ctx is done. A runner whose links carry no packets
	// returns a *CannotError.
	Capture(ctx context.Context, link string, w io.Writer) error
	// Caps says which faults this lab can do; a verb that it lacks is an error, never silently nothing.
	Caps() Caps
	// Down ends everything that Up began.
	Down(ctx context.Context) error
}

// Verb is what a drill does to its subject.
type Verb string

// The verbs, with the subjects that they take. Heal undoes every fault on its subject.
const (
	Kill      Verb = "kill"      // POP, node, process: SIGKILL; origin: nobody listens any more
	Freeze    Verb = "freeze"    // POP, node, process: SIGSTOP; origin: takes connections and never answers
	Drain     Verb = "drain"     // POP, node: ask for a drain, as an operator does
	Undrain   Verb = "undrain"   // POP, node: lift it
	Cut       Verb = "cut"       // link: its carrier is gone
	Blackhole Verb = "blackhole" // link: drops everything and says nothing
	Partition Verb = "partition" // POP, node: nothing passes between it and the rest, and nobody is told
	Mute      Verb = "mute"      // POP, node: its gossip alone is lost, both ways
	Slow      Verb = "slow"      // link, origin; Arg is a duration: what passes, or each answer, comes so much later
	Lossy     Verb = "lossy"     // link; Arg is a percentage: so much is lost, each way
	Skew      Verb = "skew"      // POP, node; Arg is a duration, may be negative: the wall clock steps by it
	Fill      Verb = "fill"      // POP, node: its disk is full
	Heal      Verb = "heal"      // whatever was broken: start again, continue, undrain, join
)

// Verbs are all verbs, in the order in which messages list them.
func Verbs() []Verb {
	return []Verb{Kill, Freeze, Drain, Undrain, Cut, Blackhole, Partition, Mute, Slow, Lossy, Skew, Fill, Heal}
}

// Fault is one thing that a drill does.
type Fault struct {
	Verb    Verb   `json:"verb"`
	Subject string `json:"subject"`       // a POP, a node ("ams1"), a process of a node ("ams1/popd"), a link's name, or an origin
	Arg     string `json:"arg,omitempty"` // how much, for the verbs that take it: "200ms", "30%"
}

// String is the fault as a drill's timeline writes it.
func (f Fault) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Verb, f.Subject, f.Arg))
}

// Delay is the Arg of a fault that slows: a duration that is not negative.
func (f Fault) Delay() (time.Duration, error) {
	d, err := time.ParseDuration(f.Arg)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s by %q: want a duration such as 200ms", f.Verb, f.Arg)
	}
	return d, nil
}

// Loss is the Arg of a fault that loses, as a share from 0 to 1.
func (f Fault) Loss() (float64, error) {
	text, isPercent := strings.CutSuffix(f.Arg, "%")
	percent, err := strconv.ParseFloat(text, 64)
	if err != nil || !isPercent || !(percent >= 0 && percent <= 100) {
		return 0, fmt.Errorf("%s by %q: want a percentage such as 20%%", f.Verb, f.Arg)
	}
	return percent / 100, nil
}

// Caps lists what a runner can do on this host.
type Caps struct {
	Verbs []Verb `json:"verbs"`
	// Why says of a verb that is not among them what is missing here, and how to get it.
	Why map[Verb]string `json:"why,omitempty"`
	// Features are what not every runner has, and a drill may need.
	Features []Feature `json:"features,omitempty"`
}

// Feature is something that a lab has or lacks as a whole.
type Feature string

// BFD is that the paths of links that say `bfd` are watched. It takes machines with a network of their own.
const BFD Feature = "bfd"

// Features are all of them.
func Features() []Feature { return []Feature{BFD} }

// Has reports whether the feature is among them.
func (c Caps) Has(f Feature) bool { return slices.Contains(c.Features, f) }

// Can reports whether the verb is among them.
func (c Caps) Can(v Verb) bool {
	return slices.Contains(c.Verbs, v)
}

// CannotError says that a runner, or this host, cannot do what was asked. The command line ends with status 3 then.
type CannotError struct {
	What string // "capture on a link of a local lab"
	Fix  string // "use --runner netns"
}

// Routable reports what routers of ours cannot do in a topology whose networks have routers of the given software: two
// routers of one AS speak iBGP, which ours do not. The error is a *CannotError.
func Routable(t *topology.Topology, software func(*topology.Network) string) error {
	for _, l := range t.Internet.Links {
		a, b := t.Network(l.A), t.Network(l.B)
		if a == nil || b == nil || a.ASN != b.ASN {
			continue
		}
		for _, n := range []*topology.Network{a, b} {
			if software(n) == topology.Ours {
				return &CannotError{
					What: fmt.Sprintf("speak iBGP over %q with %q as a router of ours, which knows other networks only", l.Name(), n.Name),
					Fix:  "use --runner netns with `router: frr` or `router: bird` for both",
				}
			}
		}
	}
	return nil
}

func (e *CannotError) Error() string { return "cannot " + e.What + "; " + e.Fix }

// Load is one kind of request that clients send.
type Load struct {
	Name string   `json:"name"`
	URL  string   `json:"url,omitempty"`  // {n} within stands for a number that no other request has
	DNS  string   `json:"dns,omitempty"`  // instead of a URL: the host that every name server of the fleet is asked for
	Rate float64  `json:"rate"`           // requests per second from each client
	From []string `json:"from,omitempty"` // client networks; empty means all
	Seed uint64   `json:"seed,omitempty"` // shifts when within its interval each client asks
}

// Sample is one client request as recorded. Times are CLOCK_MONOTONIC nanoseconds (event.Mono).
type Sample struct {
	Client string `json:"client"`
	Load   string `json:"load"`
	Start  int64  `json:"start"`
	End    int64  `json:"end"`

	OK        bool   `json:"ok"` // a whole answer with the right body came from some address in time
	Error     string `json:"error,omitempty"`
	Status    int    `json:"status,omitempty"`
	WrongBody bool   `json:"wrong_body,omitempty"`
	Tries     int    `json:"tries"` // addresses tried

	POP         string     `json:"pop,omitempty"`  // who answered over HTTP
	Node        string     `json:"node,omitempty"` // the node, from the last member of Cache-Status
	Addr        netip.Addr `json:"addr"`           // the address that answered, or the last one tried
	CacheStatus string     `json:"cache_status,omitempty"`
	Hit         bool       `json:"hit,omitempty"`

	// The DNS answer in force for this request, fresh or from the client's cache.
	DNSPOP    string       `json:"dns_pop,omitempty"` // the POP whose unicast prefix holds the addresses; "" for anycast ones
	DNSAddrs  []netip.Addr `json:"dns_addrs,omitempty"`
	DNSFresh  bool         `json:"dns_fresh,omitempty"` // asked for this request
	DNSEmpty  bool         `json:"dns_empty,omitempty"` // a name server answered NOERROR or NXDOMAIN without an address
	DNSTime   int64        `json:"dns_time,omitempty"`  // when the answer in force was received
	DNSServer netip.Addr   `json:"dns_server"`
	DNSNode   string       `json:"dns_node,omitempty"` // who answered, by NSID
	DNSError  string       `json:"dns_error,omitempty"`
	Resolver  string       `json:"resolver,omitempty"` // whom the client asked; "" for the name servers themselves

	Views []View `json:"views,omitempty"` // of a load with DNS: what each name server said
}

// View is what one name server answered to a question that all were asked at once.
type View struct {
	Server netip.Addr `json:"server"`
	Node   string     `json:"node,omitempty"`   // whose unicast address Server is; for a shared one who answered, by NSID
	Answer string     `json:"answer,omitempty"` // the POPs whose addresses it gave, else the addresses, else "empty"; sorted
	Error  string     `json:"error,omitempty"`  // why there was no answer
}

// Status is a lab as `lab status` prints it.
type Status struct {
	Name    string         `json:"name"`
	Runner  string         `json:"runner"`
	Dir     string         `json:"dir"`
	State   string         `json:"state"` // the folder of its run-time files
	Since   time.Time      `json:"since"`
	Nodes   []NodeStatus   `json:"nodes"`
	Clients []ClientStatus `json:"clients"`
	Routers []RouterStatus `json:"routers"`
	Origins []OriginStatus `json:"origins,omitempty"` // absent if the runner does not count
}

// OriginStatus is how many requests an origin has had since the lab came up.
type OriginStatus struct {
	Host     string `json:"host"`
	Requests int64  `json:"requests"` // those it answered and those it refused
}

// RouterStatus is what one network's router prefers. A drill takes it as the state before the first Best event.
type RouterStatus struct {
	Name string `json:"name"` // of the network
	// Best maps each anycast prefix that the router has a route for to where its best path leads.
	Best map[string]BestPath `json:"best"`
}

// BestPath is where a router's best path for a prefix leads.
type BestPath struct {
	Via string `json:"via"` // the neighbour
	POP string `json:"pop"` // the POP at its end
}

// NodeStatus is one node of a lab.
type NodeStatus struct {
	Name  string `json:"name"`
	POP   string `json:"pop"`
	State string `json:"state"` // running, killed, frozen
	PID   int    `json:"pid,omitempty"`
	Admin string `json:"admin"` // its admin socket
	Pss   int64  `json:"pss_bytes,omitempty"`
}

// ClientStatus is one client network of a lab: where it lands, and how a person gets there.
type ClientStatus struct {
	Name  string            `json:"name"`
	City  string            `json:"city"`
	Users float64           `json:"users"`
	Lands map[string]string `json:"lands"` // anycast prefix -> POP; "" when unreachable
	HTTP  string            `json:"http"`  // access address for curl
	DNS   string            `json:"dns"`   // access address for dig and kdig
}
