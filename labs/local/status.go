package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/client"
)

// Hosts are the hosts of all sites, in file order.
func (l *Lab) Hosts() []string {
	var all []string
	for _, s := range l.snap.Sites {
		for _, h := range s.Hosts {
			all = append(all, h.Name)
		}
	}
	return all
}

// Status tells where every client lands now and what runs.
func (l *Lab) Status(context.Context) (*labs.Status, error) {
	st := &labs.Status{Name: l.o.Name, Runner: "local", Dir: l.o.Dir, State: l.state.path, Since: l.since}
	for _, n := range l.topo.Nodes() {
		for i, c := range l.nodes[n.Name] {
			state, pid := c.status()
			ns := labs.NodeStatus{Name: c.name, POP: n.POP.Name, State: state, PID: pid, Pss: pss(pid)}
			if i == 0 {
				ns.Admin = filepath.Join(l.state.node(n.Name), "admin.sock")
			}
			st.Nodes = append(st.Nodes, ns)
		}
	}
	for _, u := range l.users {
		cs := labs.ClientStatus{
			Name: u.network.Name, City: u.network.At.City, Users: u.network.Users, HTTP: u.http, DNS: u.dns, Lands: map[string]string{},
		}
		for _, p := range l.topo.Anycast.Prefixes {
			cs.Lands[p.String()] = l.bests.of(u.network.Name)[p.String()].POP
		}
		st.Clients = append(st.Clients, cs)
	}
	for _, n := range l.topo.Internet.Networks {
		st.Routers = append(st.Routers, labs.RouterStatus{Name: n.Name, Best: l.bests.of(n.Name)})
	}
	return st, nil
}

// pss is a process's proportional set size in bytes, 0 where it cannot be read.
func pss(pid int) int64 {
	if pid == 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 3 && words[0] == "Pss:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

var errSampling = errors.New("another drill is running in this lab")

// Sample runs the loads from their clients until ctx is done. One drill at a time: two would judge each other's faults.
func (l *Lab) Sample(ctx context.Context, loads []labs.Load, fn func(labs.Sample)) error {
	if !l.sampling.CompareAndSwap(false, true) {
		return errSampling
	}
	defer l.sampling.Store(false)
	return l.sample(ctx, loads, fn)
}

func (l *Lab) sample(ctx context.Context, loads []labs.Load, fn func(labs.Sample)) error {
	users := make([]*client.Client, len(l.users))
	for i, u := range l.users {
		users[i] = u.client
	}
	return client.RunAll(ctx, users, loads, fn)
}

// Exec runs a command with CATCHMENT_ADMIN naming the node's admin socket, in the node's state folder. A command that
// ends with another status than 0 is an *exec.ExitError.
func (l *Lab) Exec(ctx context.Context, node string, argv []string, stdout, stderr io.Writer) error {
	if l.nodes[node] == nil {
		return l.noNode(node)
	}
	if len(argv) == 0 {
		return errors.New("no command to run")
	}
	if argv[0] == "catchment" {
		argv = append([]string{l.o.Binary}, argv[1:]...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = l.state.node(node)
	cmd.Env = append(os.Environ(), "CATCHMENT_ADMIN="+filepath.Join(l.state.node(node), "admin.sock"), "CATCHMENT_NODE="+node)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd.Run()
}

// Capture is what this runner cannot do: its links carry connections, not packets.
func (l *Lab) Capture(context.Context, string, io.Writer) error { return errNoPackets() }

func errNoPackets() error {
	return &labs.CannotError{What: "capture packets in a local lab, whose links carry whole connections", Fix: "bring the lab up with --runner netns"}
}

// fleetView is the part of a node's status that tells when the lab has converged.
type fleetView struct {
	View struct {
		POPs map[string]struct {
			Services map[string]struct {
				State string `json:"state"`
			} `json:"services"`
		} `json:"pops"`
		Nodes map[string]struct {
			Heard bool `json:"heard"`
		} `json:"nodes"`
	} `json:"view"`
}

// pollEvery is how often Up looks whether the lab has converged.
const pollEvery = 20 * time.Millisecond

// converge waits until every router has a route to every anycast prefix, every node sees every service of every POP
// up and hears every node, and every session stands.
func (l *Lab) converge(ctx context.Context) error {
	for {
		missing := l.missing(ctx)
		if missing == "" {
			return nil
		}
		for _, n := range l.topo.Nodes() {
			for _, c := range l.nodes[n.Name] {
				if state, _ := c.status(); state == exited {
					return fmt.Errorf("%s ended while the lab came up: %s", c.name, c.lastWords())
				}
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), missing)
		case <-time.After(pollEvery):
		}
	}
}

// missing says what the lab still waits for; empty when it has converged.
func (l *Lab) missing(ctx context.Context) string {
	if what, ok := l.bests.whole(); !ok {
		return what
	}
	for _, n := range l.topo.Internet.Networks {
		for _, s := range l.routers[n.Name].Sessions() {
			if s.State != "established" {
				return fmt.Sprintf("the session of %s with %s is %s", n.Name, s.Neighbor, s.State)
			}
		}
	}
	for _, n := range l.topo.Nodes() {
		var v fleetView
		c := admin.Client{Socket: filepath.Join(l.state.node(n.Name), "admin.sock")}
		if err := c.Get(ctx, "/v1/status", &v); err != nil {
			return fmt.Sprintf("node %s does not answer yet: %v", n.Name, err)
		}
		for _, p := range l.topo.POPs {
			for _, service := range []string{"dns", "web"} {
				if state := v.View.POPs[p.Name].Services[service].State; state != "up" {
					return fmt.Sprintf("%s sees %s of %s as %q", n.Name, service, p.Name, state)
				}
			}
			for _, other := range p.Nodes {
				if other != n && !v.View.Nodes[other.Name].Heard {
					return fmt.Sprintf("%s does not hear %s", n.Name, other.Name)
				}
			}
		}
	}
	return ""
}
