//go:build linux

package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/frr"
	"github.com/catchment-net/catchment/labs/runner"
)

// A network whose router is FRR runs Debian's zebra and bgpd in the network's namespace, in the foreground, with every
// file and socket of theirs in the lab's state folder:
//
//	STATE/frr/arc/  zebra.conf bgpd.conf  zebra.log bgpd.log  zserv (bgpd to zebra)  zebra.vty bgpd.vty (vtysh)
//	                 and of bfdd, where a link of the network asks for BFD
//
// Host routes are the runner's work, as staticd's would be a third daemon a router.

// frrFolders are where distributions put FRR's daemons.
var frrFolders = []string{"/usr/lib/frr", "/usr/libexec/frr", "/usr/sbin"} //nolint:gochecknoglobals // a constant table

// frrScratch is where FRR keeps its log's buffers whatever it is told, and leaves them when it is killed. The lab has a
// folder of its own there.
const frrScratch = "/var/tmp/frr"

// frrReady bounds how long zebra may take until it listens.
const frrReady = 20 * time.Second

// prepareFRR finds FRR's daemons and gives them a place for the files that they write wherever they run. The error is a
// *labs.CannotError.
func (l *Lab) prepareFRR() error {
	if !rootHere() {
		return &labs.CannotError{What: "run FRR without root: it takes the identity of several groups, and a user namespace has one", Fix: "run it as root, or use --router ours"}
	}
	var err error
	if l.frr, err = findFRR(frrFolders); err != nil {
		return err
	}
	if err := l.hideFolder(frrScratch); err != nil {
		return err
	}
	return l.joinVtyGroup()
}

// joinVtyGroup makes root a member of the group that vtysh's sockets belong to, for the lab alone: FRR refuses a user who
// is not, and another one than root could not reach the lab's state folder.
func (l *Lab) joinVtyGroup() error {
	text, err := os.ReadFile("/etc/group")
	if err != nil {
		return fmt.Errorf("read groups: %w", err)
	}
	file := l.state.File("group")
	if err := os.WriteFile(file, withRoot(text), 0o644); err != nil {
		return fmt.Errorf("write groups: %w", err)
	}
	return l.mount(file, "/etc/group", "", unix.MS_BIND, "")
}

// vtyGroup is what distributions build FRR with.
const vtyGroup = "frrvty"

// withRoot adds root to the group of vtysh's sockets.
func withRoot(groups []byte) []byte {
	lines := strings.Split(string(groups), "\n")
	for i, line := range lines {
		if fields := strings.Split(line, ":"); len(fields) == 4 && fields[0] == vtyGroup {
			if fields[3] != "" {
				line += ","
			}
			lines[i] = line + "root"
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// rootHere reports whether root is more than the one user that an unprivileged user namespace has.
func rootHere() bool {
	text, err := os.ReadFile("/proc/self/gid_map")
	if err != nil || os.Geteuid() != 0 {
		return false
	}
	fields := strings.Fields(string(text))
	return len(fields) > 3 || len(fields) == 3 && fields[2] != "1"
}

// findFRR returns the folder of zebra and bgpd.
func findFRR(folders []string) (string, error) {
	for _, dir := range folders {
		_, zebra := os.Stat(filepath.Join(dir, "zebra"))
		_, bgpd := os.Stat(filepath.Join(dir, "bgpd"))
		if zebra == nil && bgpd == nil {
			return dir, nil
		}
	}
	return "", &labs.CannotError{
		What: fmt.Sprintf("run FRR: zebra and bgpd are in none of %s", strings.Join(folders, ", ")), Fix: "run `apt-get install -y frr`, or use --router ours",
	}
}

// hideFolder lays an empty file system over a folder, or over the one above it where there is none yet. Only the lab sees
// it, and it goes with the lab.
func (l *Lab) hideFolder(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Dir(dir)
		for _, used := range []string{l.state.Path, l.o.Dir, l.o.Binary} {
			if abs, err := filepath.Abs(used); err == nil && strings.HasPrefix(abs, dir+"/") {
				return nil // which would hide the lab itself
			}
		}
	}
	if err := l.mount("catchment-lab", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=64m"); err != nil {
		return fmt.Errorf("hide a folder from FRR: %w", err)
	}
	return nil
}

// frrFolder is where a router's files are.
func (l *Lab) frrFolder(m *machine) string { return l.state.File("frr", m.Name) }

// startZebra writes a router's configuration and starts the first half of it.
func (l *Lab) startZebra(m *machine) error {
	dir := l.frrFolder(m)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of router %q: %w", m.Name, err)
	}
	o := frr.Options{Machine: m.Machine, Collector: m.collector}
	for name, text := range map[string]string{"zebra.conf": frr.ZebraConf(o), "bfdd.conf": frr.BFDConf(o), "bgpd.conf": frr.BGPConf(o)} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write router %q: %w", m.Name, err)
		}
	}
	if err := m.routeHosts(); err != nil {
		return err
	}
	return l.startDaemon(m, "zebra")
}

// startDaemon starts one of FRR's daemons.
func (l *Lab) startDaemon(m *machine, daemon string) error {
	dir := l.frrFolder(m)
	argv := []string{
		filepath.Join(l.frr, daemon), "-f", filepath.Join(dir, daemon+".conf"), "-i", filepath.Join(dir, daemon+".pid"),
		"-z", filepath.Join(dir, "zserv"), "--vty_socket", dir, "-P", "0", "-u", "root", "-g", "root",
		"--log", "stdout", "--log-level", "warnings",
	}
	switch daemon {
	case "zebra":
		// Without it an IPv6 route that changes is deleted and then added: for 50 to 300 µs there is none.
		argv = append(argv, "--v6-rr-semantics")
	case "bfdd":
		argv = append(argv, "--bfdctl", filepath.Join(dir, "bfdd.sock"))
	}
	c := &runner.Child{
		Name: m.Name + "/" + daemon, Log: filepath.Join(dir, daemon+".log"), Env: os.Environ(), Argv: argv,
		Nursery: l.nodes.Nursery, Within: m.ns.do, OnExit: l.routerExited,
	}
	l.children = append(l.children, c)
	return c.Start()
}

// startBGP starts the second half of a router, when the first one listens: bgpd would wait ten seconds before it asked
// again.
func (l *Lab) startBGP(ctx context.Context, m *machine) error {
	ctx, stop := context.WithTimeout(ctx, frrReady)
	defer stop()
	socket := filepath.Join(l.frrFolder(m), "zserv")
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", socket)
		if err == nil {
			conn.Close()
			if frr.Watched(m.Machine) {
				if err := l.startDaemon(m, "bfdd"); err != nil {
					return err
				}
			}
			return l.startDaemon(m, "bgpd")
		}
		if what := l.exited(); what != "" {
			return fmt.Errorf("start router %q: %s", m.Name, what)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("start router %q: zebra does not listen: %w", m.Name, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
