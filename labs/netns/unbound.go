//go:build linux

package netns

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/labs/unbound"
	"github.com/catchment-net/catchment/topology"
)

// unboundReady bounds how long unbound may take until it listens.
const unboundReady = 20 * time.Second

// resolve starts a resolver that the topology wants to be unbound, in its network's namespace and with its files in
// STATE/unbound. It does nothing where unbound is not installed.
func (l *Lab) resolve(ctx context.Context, r *topology.Resolver) (bool, error) {
	program := findUnbound()
	if program == "" {
		l.o.Progress(fmt.Sprintf("resolver %s is ours: unbound is not installed (apt-get install -y unbound)", r.Name))
		return false, nil
	}
	hints, err := runner.Hints(l.snap)
	if err != nil {
		return false, err
	}
	dir := l.state.File("unbound", r.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("make folder of resolver %q: %w", r.Name, err)
	}
	o := unbound.Options{Resolver: r, Topology: l.topo, Hints: hints, Dir: dir}
	file := filepath.Join(dir, "unbound.conf")
	for name, text := range map[string]string{file: unbound.Conf(o), filepath.Join(dir, unbound.RootFile): unbound.RootHints(hints)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return false, fmt.Errorf("write resolver %q: %w", r.Name, err)
		}
	}
	m := l.machines[r.In.Name]
	c := &runner.Child{
		Name: r.Name, Argv: []string{program, "-d", "-d", "-c", file}, Env: os.Environ(), Log: filepath.Join(dir, "log"),
		Nursery: l.nodes.Nursery, Within: m.ns.do, OnExit: l.resolverExited,
	}
	l.children = append(l.children, c)
	if l.unbounds == nil {
		l.unbounds = map[*topology.Resolver]*runner.Child{}
	}
	l.unbounds[r] = c
	if err := c.Start(); err != nil {
		return false, err
	}
	return true, l.awaitResolver(ctx, m, r, c)
}

// forgetResolvers empties the caches of those resolvers that are unbound, which a reload does.
func (l *Lab) forgetResolvers(ctx context.Context) error {
	for r, c := range l.unbounds {
		if err := c.Signal(syscall.SIGHUP, runner.Alive); err != nil {
			return err
		}
		if err := l.awaitResolver(ctx, l.machines[r.In.Name], r, c); err != nil {
			return err
		}
	}
	return nil
}

// findUnbound is where unbound is; "" where it is not.
func findUnbound() string {
	for _, name := range []string{"unbound", "/usr/sbin/unbound", "/usr/local/sbin/unbound"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// awaitResolver waits until a resolver takes connections on all its addresses.
func (l *Lab) awaitResolver(ctx context.Context, m *machine, r *topology.Resolver, c *runner.Child) error {
	ctx, stop := context.WithTimeout(ctx, unboundReady)
	defer stop()
	inside := &within{ns: m.ns}
	waiting := slices.Clone(r.Addrs)
	for len(waiting) > 0 {
		conn, err := inside.DialContext(ctx, "tcp", netip.AddrPortFrom(waiting[0], topology.PortDNS).String())
		if err == nil {
			conn.Close()
			waiting = waiting[1:]
			continue
		}
		if state, _ := c.Status(); state == runner.Exited {
			return fmt.Errorf("start resolver %q: %s", r.Name, c.LastWords())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("start resolver %q: it does not listen: %w", r.Name, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (l *Lab) resolverExited(name, state string, err error) {
	if state == runner.Exited {
		l.ended("resolver "+name, err)
	}
}
