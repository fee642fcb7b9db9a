//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/labs/netns"
	"github.com/catchment-net/catchment/labs/runner"
)

// The addresses of the scene. The transit prefers the POP of the lower router id: the first.
var (
	prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:53::/48")} //nolint:gochecknoglobals // a constant table
	vips     = []netip.Addr{netip.MustParseAddr("192.0.2.80"), netip.MustParseAddr("2001:db8:53::80")}          //nolint:gochecknoglobals // a constant table
	families = []string{"v4", "v6"}                                                                             //nolint:gochecknoglobals // a constant table
	popNames = []string{"best", "next", "last"}                                                                 //nolint:gochecknoglobals // a constant table
)

// The numbers of the first two POPs in answers.
const (
	best = '1'
	next = '2'
)

// setting is what a scene is made of.
type setting struct {
	transit  string        // bird or frr
	hidden   bool          // two transits of one AS, of which the client's does not see the alternative
	pops     int           // 2 or 3
	peers    int           // more transits that best is linked with, which do nothing
	bfd      time.Duration // between two BFD packets; 0 for none
	speaker  speaker
	services bool // the responder runs; else the node's own services alone
	every    time.Duration
}

// topology is the network of a setting.
func (s setting) topology() string {
	var b strings.Builder
	b.WriteString("asn: 65100\nanycast: {prefixes: [192.0.2.0/24, 2001:db8:53::/48], dns: [192.0.2.53, 2001:db8:53::53], web: [192.0.2.80, 2001:db8:53::80]}\npops:\n")
	for i := range s.pops {
		fmt.Fprintf(&b, "  %s: {at: FRA, unicast: [203.0.113.%d/28, 2001:db8:a%d::/48]}\n", popNames[i], 16*i, i+1)
	}
	b.WriteString("health: {interval: 20ms, timeout: 20ms, fall: 3, rise: 1s}\n")
	fmt.Fprintf(&b, "internet:\n  router: %s\n  networks:\n    transit: {asn: 65020, at: FRA}\n", s.transit)
	if s.hidden {
		b.WriteString("    second:  {asn: 65020, at: FRA}\n")
	}
	for i := range s.peers {
		fmt.Fprintf(&b, "    idle%d: {asn: %d, at: FRA}\n", i, 65030+i)
	}
	b.WriteString("    client:  {asn: 65010, at: FRA, router: ours, users: 1, prefixes: [198.51.100.0/27, 2001:db8:c1::/48]}\n")
	b.WriteString("  origins:\n    origin.shop.example: {in: transit, at: FRA, prefixes: [203.0.113.128/28]}\n  links:\n")
	for i := range s.pops {
		watched := ""
		if s.bfd > 0 {
			watched = ", bfd: " + s.bfd.String()
		}
		fmt.Fprintf(&b, "    %s: {delay: 0s%s}\n", s.link(i), watched)
	}
	if s.hidden {
		b.WriteString("    transit -- second: {delay: 0s}\n")
	}
	for i := range s.peers {
		fmt.Fprintf(&b, "    best -> idle%d: {delay: 0s}\n", i)
	}
	b.WriteString("    client -> transit: {delay: 0s}\n")
	return b.String()
}

// link is the cable of a POP. A hidden alternative is a peer of the second transit, worth less than a customer.
func (s setting) link(pop int) string {
	if s.hidden && pop > 0 {
		return popNames[pop] + " -- second"
	}
	return popNames[pop] + " -> transit"
}

// scene is a lab that is up, with its clients and records.
type scene struct {
	setting
	lab     *netns.Lab
	loads   []*load   // by family
	records []*record // by POP
	parts   sync.WaitGroup
	cancel  context.CancelFunc
	home    string
}

// upWithin bounds how long a scene may take until the client is served.
const upWithin = 60 * time.Second

// up brings a scene up and has the clients ask.
func up(ctx context.Context, o options, s setting) (*scene, error) {
	home, err := os.MkdirTemp("", "cb")
	if err != nil {
		return nil, err
	}
	c := &scene{setting: s, home: home, cancel: func() {}}
	if err := c.up(ctx, o); err != nil {
		return nil, errors.Join(err, c.down())
	}
	return c, nil
}

func (c *scene) up(ctx context.Context, o options) error {
	dir := filepath.Join(c.home, "lab")
	for name, text := range map[string]string{
		"topology.yaml":      c.topology(),
		"sites/shop.yaml":    "hosts:\n  www.shop.example: {steer: anycast}\norigin: http://origin.shop.example\n",
		"zones/shop.example": "$ORIGIN shop.example.\n$TTL 300\n@ SOA ns1 host.shop.example. 1 7200 900 1209600 60\n@ NS ns1\nns1 A 192.0.2.53\nns1 AAAA 2001:db8:53::53\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	var life context.Context
	life, c.cancel = context.WithCancel(ctx)
	var err error
	c.lab, err = netns.Up(ctx, netns.Options{
		Dir: dir, Name: "b", Root: filepath.Join(c.home, "r"), Binary: o.binary, Split: true, Alone: !c.speaker.isNode,
		Guests: func(m *layout.Machine, dir string) ([]runner.Process, error) { return c.guests(o, m, dir) },
		Built:  func(l *netns.Lab) { c.watch(life, l) },
	})
	if err != nil {
		return err
	}
	if err := c.wayBack(ctx); err != nil {
		return err
	}
	client, err := c.lab.Inside("client")
	if err != nil {
		return err
	}
	for _, vip := range vips {
		var l *load
		err := c.await(ctx, upWithin, func() string { // without a route no socket can be connected
			if l, err = newLoad(life, client, vip); err != nil {
				return err.Error()
			}
			return ""
		})
		if err != nil {
			return err
		}
		c.loads = append(c.loads, l)
		c.parts.Go(func() { l.run(life, c.every) })
	}
	return c.ready(ctx)
}

// watch records what crosses the POPs' cables from the first frame on.
func (c *scene) watch(ctx context.Context, l *netns.Lab) {
	for i := range c.pops {
		r := &record{pop: c.wire(l.Plan(), i).A.V4, told: map[conn]map[netip.Prefix]bool{}}
		c.records = append(c.records, r)
		c.parts.Go(func() { _ = r.watch(ctx, l, c.link(i)) })
	}
}

// wire is the cable between a POP and its transit; the POP's end is A.
func (c *scene) wire(plan *layout.Plan, pop int) *layout.Wire {
	for _, w := range plan.Wires {
		if w.Link.A == popNames[pop] && !strings.HasPrefix(w.Link.B, "idle") {
			return w
		}
	}
	return nil
}

// wayBack gives the machines of POPs a default route, which our own node takes from BGP.
func (c *scene) wayBack(ctx context.Context) error {
	if c.speaker.isNode {
		return nil
	}
	for i := range c.pops {
		w := c.wire(c.lab.Plan(), i)
		for _, via := range []netip.Addr{w.B.V4, w.B.V6} {
			var said bytes.Buffer
			if err := c.lab.Exec(ctx, w.A.Machine.Name, []string{"ip", "route", "replace", "default", "via", via.String()}, &said, &said); err != nil {
				return fmt.Errorf("route back from %s: %w: %s", popNames[i], err, said.String())
			}
		}
	}
	return nil
}

// guests are the service and the speaker of a POP's machine.
func (c *scene) guests(o options, m *layout.Machine, dir string) ([]runner.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var all []runner.Process
	if c.services {
		argv := []string{self, respondCommand, fmt.Sprint(1 + m.Node.POP.Index)}
		for _, vip := range vips {
			argv = append(argv, vip.String())
		}
		all = append(all, runner.Process{Name: m.Name + "/service", Log: "service.log", Argv: argv, Env: []string{"GOMAXPROCS=2"}})
	}
	if c.speaker.isNode {
		return all, nil
	}
	speakers, err := c.speaker.processes(stand{binary: o.binary, machine: m, dir: dir, bfd: c.bfd})
	return append(all, speakers...), err
}

// node is the name of the node of a POP.
func node(pop int) string { return popNames[pop] + "1" }

// settledRequests is how many answers in a row make a path count as settled.
const settledRequests = 40

// ready waits until the first POP serves both families, and every POP announces both.
func (c *scene) ready(ctx context.Context) error {
	return c.await(ctx, upWithin, func() string {
		for i, r := range c.records {
			for _, p := range prefixes {
				if !r.announced(p) {
					return fmt.Sprintf("%s does not announce %s", popNames[i], p)
				}
			}
		}
		for i, l := range c.loads {
			if c.services && !l.settled(best, settledRequests) {
				return fmt.Sprintf("the client is not served by the first POP over %s", families[i])
			}
		}
		return ""
	})
}

// await polls until nothing is missing.
func (c *scene) await(ctx context.Context, limit time.Duration, missing func() string) error {
	for end := time.Now().Add(limit); ; {
		what := missing()
		if what == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v: %s; %s", limit, what, c.words())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// words are the last ones of the logs of the first POP.
func (c *scene) words() string {
	logs, _ := filepath.Glob(filepath.Join(c.home, "r/b/nodes", node(0), "*log"))
	var all []string
	for _, name := range logs {
		if text, err := os.ReadFile(name); err == nil && len(text) > 0 {
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			all = append(all, filepath.Base(name)+": "+lines[len(lines)-1])
		}
	}
	return strings.Join(all, "; ")
}

func (c *scene) do(ctx context.Context, verb labs.Verb, subject string) error {
	return c.lab.Do(ctx, labs.Fault{Verb: verb, Subject: subject})
}

// pid is the process of that name.
func (c *scene) pid(ctx context.Context, name string) (int, error) {
	st, err := c.lab.Status(ctx)
	if err != nil {
		return 0, err
	}
	for _, n := range st.Nodes {
		if n.Name == name && n.PID != 0 {
			return n.PID, nil
		}
	}
	return 0, fmt.Errorf("no process %q runs", name)
}

func (c *scene) signal(ctx context.Context, name string, sig syscall.Signal) error {
	pid, err := c.pid(ctx, name)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, sig)
}

// renew begins the first POP anew, with a speaker that has forgotten what happened, and waits until all is as at first.
func (c *scene) renew(ctx context.Context) error {
	for _, subject := range []string{c.link(0), "best"} { // only what runs can be killed
		if err := c.do(ctx, labs.Heal, subject); err != nil {
			return err
		}
	}
	if err := c.do(ctx, labs.Kill, "best"); err != nil {
		return err
	}
	for _, name := range c.speaker.forget {
		if err := os.RemoveAll(filepath.Join(c.home, "r/b/nodes", node(0), name)); err != nil {
			return err
		}
	}
	if err := c.do(ctx, labs.Heal, "best"); err != nil {
		return err
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	sleep(ctx, calm)
	return c.ready(ctx)
}

// calm is how long a POP that has begun is left alone.
const calm = time.Second

// down ends everything.
func (c *scene) down() error {
	c.cancel()
	c.parts.Wait()
	var err error
	if c.lab != nil {
		ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
		defer stop()
		err = errors.Join(c.lab.Down(ctx), gone(ctx))
	}
	return errors.Join(err, os.RemoveAll(c.home))
}

// gone takes away the cables that are left, and waits until none is: a connection that nobody answers any more keeps its
// namespace for a while, and the next lab's cables have the same names.
func gone(ctx context.Context) error {
	for {
		out, err := exec.CommandContext(ctx, "ip", "-o", "link").Output()
		if err != nil {
			return fmt.Errorf("list what is left of the lab: %w", err)
		}
		left := 0
		for line := range strings.Lines(string(out)) {
			fields := strings.Fields(line)
			if len(fields) < 2 || fields[1] == "lo:" {
				continue
			}
			name, _, _ := strings.Cut(strings.TrimSuffix(fields[1], ":"), "@")
			left++
			_ = exec.CommandContext(ctx, "ip", "link", "del", name).Run() // it may go by itself meanwhile
		}
		if left == 0 {
			return nil
		}
	}
}
