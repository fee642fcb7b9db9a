//go:build linux

package netns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/bird"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// A network whose router is BIRD runs Debian's bird in the network's namespace, in the foreground, with every file and
// socket of its own in the lab's state folder:
//
//	STATE/bird/arc/  bird.conf  bird.log  bird.ctl (birdc)

// prepareBIRD finds BIRD. The error is a *labs.CannotError.
func (l *Lab) prepareBIRD() error {
	for _, name := range []string{"bird", "/usr/sbin/bird", "/usr/local/sbin/bird"} {
		if path, err := exec.LookPath(name); err == nil {
			l.bird = path
			return nil
		}
	}
	return &labs.CannotError{What: "run BIRD: bird is not in the PATH or /usr/sbin", Fix: "run `apt-get install -y bird2`, or use --router ours"}
}

func (l *Lab) birdSocket(m *machine) string { return l.state.File("bird", m.Name, "bird.ctl") }

// startBIRD writes a router's configuration and starts it.
func (l *Lab) startBIRD(m *machine) error {
	dir := filepath.Dir(l.birdSocket(m))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of router %q: %w", m.Name, err)
	}
	file := filepath.Join(dir, "bird.conf")
	text := bird.Conf(bird.Options{Machine: m.Machine, Collector: m.collector})
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write router %q: %w", m.Name, err)
	}
	if err := m.routeHosts(); err != nil {
		return err
	}
	c := &runner.Child{
		Name: m.Name + "/bird", Log: filepath.Join(dir, "bird.log"), Env: os.Environ(),
		Argv:    []string{l.bird, "-f", "-c", file, "-s", l.birdSocket(m), "-P", filepath.Join(dir, "bird.pid")},
		Nursery: l.nodes.Nursery, Within: m.ns.do, OnExit: l.routerExited,
	}
	l.children = append(l.children, c)
	return c.Start()
}

// routedBy counts the routers that are of a software.
func (l *Lab) routedBy(software string) int {
	n := 0
	for _, m := range l.plan.Machines {
		if m.Software == software {
			n++
		}
	}
	return n
}

// prepareRouters finds the software of the routers that are not ours. The error is a *labs.CannotError where the host
// lacks it, or where ours cannot do what the lab wants.
func (l *Lab) prepareRouters() error {
	if err := labs.Routable(l.topo, func(n *topology.Network) string { return l.plan.Machine(n.Name).Software }); err != nil {
		return err
	}
	if l.routedBy(topology.FRR) > 0 {
		if err := l.prepareFRR(); err != nil {
			return err
		}
	}
	if l.routedBy(topology.BIRD) > 0 {
		return l.prepareBIRD()
	}
	return nil
}
