package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/internal/obs"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/internal/wallclock"
	"github.com/catchment-net/catchment/keys"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/node"
	"github.com/catchment-net/catchment/popd/accesslog"
)

// daemonFlags are what every daemon takes.
type daemonFlags struct {
	node, state, admin, ready string
	keys, memory, lab         string
	logFile, logFormat        string
	mmdb                      []string
	verbose, insecure, vips   bool
}

func (f *daemonFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.state, "state", "", "state folder (default /var/lib/catchment/NODE, for other users ~/.local/state/catchment/NODE)")
	fl.StringVar(&f.admin, "admin", "", "admin socket (default admin.sock in the state folder)")
	fl.StringVar(&f.ready, "ready", "", "file to write when everything listens, as JSON with the real addresses")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
}

// addNode adds what a daemon of a configured node takes besides.
func (f *daemonFlags) addNode(cmd *cobra.Command) {
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.keys, "keys", "", "folder that \"catchment keys init\" made")
	fl.BoolVar(&f.insecure, "insecure", false, "no keys: plain text between nodes; for tests on one machine")
	fl.BoolVar(&f.vips, "vips", false, "the speaker puts the anycast addresses on lo while their prefixes are announced; the same for all daemons of a node")
	fl.StringVar(&f.lab, "lab", "", "the surroundings that a lab's runner wrote")
	if err := fl.MarkHidden("lab"); err != nil {
		panic(err) // the flag is defined one line above
	}
}

func (f *daemonFlags) addMMDB(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.mmdb, "mmdb", nil, "geodata for hosts steered by geo (default geo.mmdb and geo-asn.mmdb beside topology.yaml); may be repeated, the later one wins")
}

// addCache adds what a cache takes.
func (f *daemonFlags) addCache(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.memory, "memory", "", "cache in memory, such as 1GiB")
	cmd.Flags().StringVar(&f.logFile, "access-log", "", "file for a line about each client request, rotated at 256 MiB; - is standard output (default: none)")
	cmd.Flags().StringVar(&f.logFormat, "access-log-format", "json", "json or combined")
}

func (f *daemonFlags) accessLog() accesslog.Options {
	return accesslog.Options{Path: f.logFile, Format: accesslog.Format(f.logFormat)}
}

// logger writes to stderr; the access log and the events are elsewhere.
func (a *app) logger(f *daemonFlags) *slog.Logger {
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	return obs.Logger(a.err, obs.LogOptions{Level: level})
}

// name is the node that is meant: the one named, else the host's name.
func (f *daemonFlags) name(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	if f.node != "" {
		return f.node, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the host's name: %w; name the node with --node", err)
	}
	short, _, _ := strings.Cut(host, ".")
	return short, nil
}

// options turns flags into a node's options.
func (a *app) options(f *daemonFlags, name string) (node.Options, error) {
	o := node.Options{
		Name: name, Dir: a.dir, Admin: strings.TrimPrefix(f.admin, "unix:"), MMDB: f.mmdb, Insecure: f.insecure, VIPs: f.vips, Logger: a.logger(f),
		Registry: obs.Registry(obs.Build{Version: version}), AccessLog: f.accessLog(),
	}
	var err error
	if o.Memory, err = parseBytes("--memory", f.memory); err != nil {
		return o, err
	}
	if f.keys != "" {
		if o.Keys, err = keys.Load(f.keys, name, time.Now()); err != nil {
			return o, err
		}
	}
	if f.lab == "" {
		return o, nil
	}
	around, err := labs.ReadSurroundings(f.lab)
	if err != nil {
		return o, err
	}
	if around.Clock != "" {
		clock, err := wallclock.Open(around.Clock)
		if err != nil {
			return o, err
		}
		o.Now = clock.Now
		if o.Keys != nil { // a wrong clock is wrong for certificates, too
			o.Keys.TLSServer, o.Keys.TLSClient = o.Keys.TLSServer.Clone(), o.Keys.TLSClient.Clone()
			o.Keys.TLSServer.Time, o.Keys.TLSClient.Time = clock.Now, clock.Now
		}
	}
	o.BGPListen, o.Kernel, o.Undamped, o.BFD = around.BGPListen, around.Kernel, true, map[netip.Addr]time.Duration{}
	for _, n := range around.Neighbors {
		relation, err := speaker.ParseRelation(n.Relation)
		if err != nil {
			return o, err
		}
		neighbor := speaker.Neighbor{
			Name: n.Name, Address: n.Address, ASN: n.ASN, Local: n.Local, Passive: true, Prepend: n.Prepend, Relation: relation, NextHop6: n.Local6,
		}
		if around.Kernel {
			neighbor.NextHop4 = n.Local // a kernel takes a next hop only on the link itself
		}
		o.Neighbors = append(o.Neighbors, neighbor)
		if n.BFD != 0 {
			o.BFD[n.Address] = n.BFD
		}
	}
	if around.Socket == "" {
		return o, nil
	}
	lab, err := underlay.NewLab(underlay.LabOptions{Socket: around.Socket, Node: name, Bind: around.Bind})
	if err != nil {
		return o, err
	}
	o.Net = lab
	return o, nil
}

func parseBytes(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	doc := conf.Parse(flag, []byte(text))
	n := doc.Root().Bytes()
	if doc.Err() != nil {
		return 0, fmt.Errorf("%s %q: want a size such as 512MiB or 1GiB", flag, text)
	}
	return n, nil
}

// serve runs a daemon's process to its end and turns that into an exit status.
func (a *app) serve(cmd *cobra.Command, f *daemonFlags, name string, start func(p *daemon.Process) (daemon.Daemon, error)) error {
	state := f.state
	if state == "" {
		var err error
		if state, err = daemon.DefaultState(name, os.Getenv); err != nil {
			return err
		}
	}
	// A limit of file sizes, like a full disk, is an error of the write that meets it and no reason to die.
	signal.Ignore(syscall.SIGXFSZ)
	// The signals that end other commands drain a daemon first: it must not see its context end at the first one.
	return daemon.Run(context.WithoutCancel(cmd.Context()), daemon.Options{
		Name: "catchment", Node: name, State: state, Ready: f.ready, Systemd: daemon.SystemdFrom(os.Getenv),
		Stderr: a.err, Logger: a.logger(f), Exec: beginAnew,
	}, start)
}

// beginAnew takes the place of this process with the program that has its name now, which may be a newer one.
func beginAnew() error {
	program, err := os.Executable()
	if err != nil { // a /proc of another namespace does not know this process
		program, err = exec.LookPath(os.Args[0])
	}
	if err == nil {
		err = syscall.Exec(program, os.Args, os.Environ())
	}
	return fmt.Errorf("begin anew as %q: %w", program, err)
}

func (a *app) node() *cobra.Command {
	var f daemonFlags
	cmd := &cobra.Command{
		Use: "node [NAME]", Short: "Run one node of a POP: name server, cache, BGP speaker and hub in one process", Args: cobra.MaximumNArgs(1),
		Example: "  catchment node ams1 -c /etc/catchment --keys /etc/catchment/keys",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := f.name(args)
			if err != nil {
				return err
			}
			spareProcessor()
			return a.serve(cmd, &f, name, func(p *daemon.Process) (daemon.Daemon, error) {
				o, err := a.options(&f, name)
				if err != nil {
					return nil, err
				}
				o.State, o.Incarnation, o.Ready, o.Restart = p.State.Dir, p.State.Incarnation, p.Ready, p.Restart
				return node.New(o)
			})
		},
	}
	cmd.Flags().StringVar(&f.node, "node", "", "the node's name (default: the host's name)")
	f.addNode(cmd)
	f.addMMDB(cmd)
	f.addCache(cmd)
	return cmd
}
