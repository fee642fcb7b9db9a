package containerlab

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// Faults of cables are made in the network namespaces of the containers at their ends, from outside: the containers hold
// no tools for it. Packets are dropped by nftables in the ingress hook of the far device, before anything else there sees
// them: a drop where they leave would tell the sender, who tries again. Delay is netem's.

// end is one end of a cable, with the process whose namespace it is in.
type end struct {
	iface string
	pid   int
}

// carrier takes or gives a cable's carrier.
func (e end) carrier(up bool) error {
	ns, err := netns.GetFromPid(e.pid)
	if err != nil {
		return fmt.Errorf("open the network namespace of process %d: %w", e.pid, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("reach into the network namespace of process %d: %w", e.pid, err)
	}
	defer h.Close()
	l, err := h.LinkByName(e.iface)
	if err != nil {
		return fmt.Errorf("find %q: %w", e.iface, err)
	}
	if up {
		return h.LinkSetUp(l)
	}
	return h.LinkSetDown(l)
}

// filter puts rules before what the end receives, in place of those of the same purpose; no rule takes them away.
func (e end) filter(ctx context.Context, purpose string, rules ...string) error {
	return e.within(ctx, filterScript(e.iface, purpose, rules), "nft", "-f", "-")
}

// filterScript is written for nft. The first two lines make sure that there is nothing of the purpose.
func filterScript(iface, purpose string, rules []string) string {
	table := "catchment_" + purpose + "_" + iface
	s := fmt.Sprintf("table netdev %s\ndelete table netdev %[1]s\n", table)
	if len(rules) > 0 {
		s += fmt.Sprintf("table netdev %s {\nchain in {\ntype filter hook ingress device %q priority 0;\n%s\n}\n}\n", table, iface, strings.Join(rules, "\n"))
	}
	return s
}

// shape holds back what the end sends, and bounds its rate; no delay and no rate do so no longer.
func (e end) shape(ctx context.Context, delay, jitter time.Duration, rate float64) error {
	if delay == 0 && rate == 0 {
		return e.within(ctx, "", "tc", "qdisc", "del", "dev", e.iface, "root")
	}
	argv := []string{"tc", "qdisc", "replace", "dev", e.iface, "root", "netem", "limit", "100000", "delay", micros(delay)}
	if jitter > 0 {
		argv = append(argv, micros(jitter))
	}
	if rate > 0 {
		argv = append(argv, "rate", strconv.FormatInt(int64(rate), 10)+"bit")
	}
	return e.within(ctx, "", argv...)
}

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) + "us" }

// within runs a command of the host in the end's namespace.
func (e end) within(ctx context.Context, input string, argv ...string) error {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(e.pid), "--net", "--"}, argv...)...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, lastLine(string(out)))
	}
	return nil
}

// The rules.
const (
	dropAll    = "drop"
	gossipOnly = "meta l4proto { tcp, udp } th dport { 7946, 7947 } drop\nmeta l4proto { tcp, udp } th sport { 7946, 7947 } drop" // topology.PortGossip, PortFleet
)

// loseSome drops a fraction of what passes.
func loseSome(fraction float64) string {
	n := int(fraction*10000 + 0.5)
	if n >= 10000 {
		return dropAll // nft refuses a bound that no number reaches
	}
	return fmt.Sprintf("numgen random mod 10000 < %d drop", n)
}

// end is that of a wire at which its carrier is taken: the network's rather than a node's, which may be dead.
func (l *Lab) end(ctx context.Context, w *layout.Wire) (end, error) {
	i := w.A
	if i.Machine.Node != nil {
		i = w.B
	}
	states, err := l.tools.inspect(ctx, i.Machine.Name)
	if err != nil {
		return end{}, err
	}
	s := states[i.Machine.Name]
	if !s.Running {
		return end{}, fmt.Errorf("%s is not running", i.Machine.Name)
	}
	return end{i.Name, s.Pid}, nil
}

// linkFault is what a fault has done to a link.
type linkFault struct {
	verb  labs.Verb
	loss  float64
	delay time.Duration
}

// breakLink does a fault to every wire of a link, in place of the one before.
func (l *Lab) breakLink(ctx context.Context, name string, f linkFault) error {
	link, err := layout.FindLink(l.topo, name)
	if err != nil {
		return err
	}
	if err := l.mendLink(ctx, link); err != nil {
		return err
	}
	l.mu.Lock()
	l.faults[link] = f
	l.mu.Unlock()
	return l.eachWire(ctx, link, func(w *layout.Wire, e end) error { return l.breakWire(ctx, w, e, f) })
}

func (l *Lab) breakWire(ctx context.Context, w *layout.Wire, e end, f linkFault) error {
	switch f.verb {
	case labs.Cut:
		return e.carrier(false)
	case labs.Blackhole:
		return l.filterWire(ctx, w, "link", dropAll)
	case labs.Lossy:
		return l.filterWire(ctx, w, "link", loseSome(f.loss))
	case labs.Slow:
		return l.shapeWire(ctx, w, f.delay)
	}
	return fmt.Errorf("link cannot be made %s", f.verb)
}

// filterWire filters what either end receives.
func (l *Lab) filterWire(ctx context.Context, w *layout.Wire, purpose string, rules ...string) error {
	return l.bothEnds(ctx, w, func(e end) error { return e.filter(ctx, purpose, rules...) })
}

// shapeWire gives what either end sends the delay, jitter and rate of the link, and more delay.
func (l *Lab) shapeWire(ctx context.Context, w *layout.Wire, more time.Duration) error {
	return l.bothEnds(ctx, w, func(e end) error { return e.shape(ctx, w.Link.Delay+more, w.Link.Jitter, w.Link.Rate) })
}

// bothEnds calls do for the ends of a wire whose containers run.
func (l *Lab) bothEnds(ctx context.Context, w *layout.Wire, do func(end) error) error {
	states, err := l.tools.inspect(ctx, w.A.Machine.Name, w.B.Machine.Name)
	if err != nil {
		return err
	}
	for _, i := range []*layout.Interface{w.A, w.B} {
		if s := states[i.Machine.Name]; s.Running {
			if err := do(end{i.Name, s.Pid}); err != nil {
				return err
			}
		}
	}
	return nil
}

// mendLink undoes the fault of a link, if there is one.
func (l *Lab) mendLink(ctx context.Context, link *topology.Link) error {
	l.mu.Lock()
	f, broken := l.faults[link]
	delete(l.faults, link)
	l.mu.Unlock()
	if !broken {
		return nil
	}
	return l.eachWire(ctx, link, func(w *layout.Wire, e end) error {
		switch f.verb {
		case labs.Cut:
			return e.carrier(true)
		case labs.Slow:
			return l.shapeWire(ctx, w, 0)
		}
		return l.filterWire(ctx, w, "link")
	})
}

func (l *Lab) eachWire(ctx context.Context, link *topology.Link, do func(*layout.Wire, end) error) error {
	for _, w := range l.plan.OfLink(link) {
		e, err := l.end(ctx, w)
		if err != nil {
			return err
		}
		if err := do(w, e); err != nil {
			return fmt.Errorf("cable between %s and %s: %w", w.A.Machine.Name, w.B.Machine.Name, err)
		}
	}
	return nil
}

// breakAgain does the faults of links anew: a container that has been replaced has new cables.
func (l *Lab) breakAgain(ctx context.Context) error {
	l.mu.Lock()
	faults := maps.Clone(l.faults)
	l.mu.Unlock()
	for link, f := range faults {
		if err := l.eachWire(ctx, link, func(w *layout.Wire, e end) error { return l.breakWire(ctx, w, e, f) }); err != nil {
			return err
		}
	}
	return nil
}

// isolate filters every cable of a subject's nodes for a purpose; without rules it does so no longer.
func (l *Lab) isolate(ctx context.Context, subject, purpose string, rules ...string) error {
	nodes, err := l.boxes.subjects(subject)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		for _, i := range l.plan.Machine(n).Interfaces {
			if err := l.filterWire(ctx, i.Wire, purpose, rules...); err != nil {
				return err
			}
		}
	}
	return nil
}

// caps finds out what this host can do to cables, by trying in a namespace that is thrown away.
func caps(ctx context.Context) labs.Caps {
	c := labs.Caps{
		Verbs: []labs.Verb{labs.Kill, labs.Freeze, labs.Drain, labs.Undrain, labs.Cut, labs.Skew, labs.Fill},
		Why:   map[labs.Verb]string{}, Features: labs.Features(),
	}
	if why := tryFilter(ctx); why == "" {
		c.Verbs = append(c.Verbs, labs.Blackhole, labs.Partition, labs.Mute, labs.Lossy)
	} else {
		for _, v := range []labs.Verb{labs.Blackhole, labs.Partition, labs.Mute, labs.Lossy} {
			c.Why[v] = why
		}
	}
	c.Verbs = append(c.Verbs, labs.Slow) // of origins; of links where the kernel can
	c.Verbs = append(c.Verbs, labs.Heal)
	slices.SortFunc(c.Verbs, func(a, b labs.Verb) int { return slices.Index(labs.Verbs(), a) - slices.Index(labs.Verbs(), b) })
	return c
}

func tryFilter(ctx context.Context) string {
	for _, tool := range []string{"nft", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed (Debian: nftables, util-linux)"
		}
	}
	return inScratch(ctx, "nft", "add table netdev t; add chain netdev t c { type filter hook ingress device lo priority 0; }; add rule netdev t c numgen random mod 100 < 1 drop")
}

// tryDelay says why the kernel cannot delay packets; empty when it can.
func tryDelay(ctx context.Context) string {
	if _, err := exec.LookPath("tc"); err != nil {
		return "tc is not installed (Debian: iproute2)"
	}
	if why := inScratch(ctx, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"); why != "" {
		return "the kernel has no netem (modprobe sch_netem): " + why
	}
	return ""
}

// inScratch runs a command in a network namespace of its own and says why it failed; empty when it did not.
func inScratch(ctx context.Context, argv ...string) string {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Sprintf("%s: %v: %s", argv[0], err, lastLine(string(out)))
	}
	return ""
}
