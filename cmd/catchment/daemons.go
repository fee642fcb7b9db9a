package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/node"
)

// spareProcessor gives the Go scheduler one processor more than the machine has (unless $GOMAXPROCS says what it shall
// be), for daemons whose readers sleep in system calls: a reader that wakes up finds its processor as it left it, instead
// of having to take it back from whoever got it (docs/decisions/052).
func spareProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}

// part runs one daemon of a configured node in a process of its own.
func (a *app) part(cmd *cobra.Command, f *daemonFlags, hub string, start func(o node.Options) (daemon.Daemon, error), suffix string) error {
	name, err := f.name(nil)
	if err != nil {
		return err
	}
	state := f.state
	if state == "" {
		if state, err = daemon.DefaultState(name, os.Getenv); err != nil {
			return err
		}
	}
	if hub == "" {
		hub = filepath.Join(state, "hub.sock")
	}
	g := *f
	g.state = filepath.Join(state, suffix) // each process locks a folder of its own
	return a.serve(cmd, &g, name, func(p *daemon.Process) (daemon.Daemon, error) {
		o, err := a.options(f, name)
		if err != nil {
			return nil, err
		}
		o.State, o.Incarnation, o.Hub, o.Ready, o.Restart = p.State.Dir, p.State.Incarnation, hub, p.Ready, p.Restart
		return start(o)
	})
}

func hubFlag(cmd *cobra.Command, hub *string) {
	cmd.Flags().StringVar(hub, "hub", "", "the hub's socket (default hub.sock in the node's state folder)")
}

func (a *app) dnsd() *cobra.Command {
	var f daemonFlags
	var hub string
	var alone node.StandaloneDNS
	cmd := &cobra.Command{
		Use: "dnsd", Short: "Run the name server alone: as part of a node, or from flags", Args: cobra.NoArgs,
		Example: `  catchment dnsd --node ams1 -c /etc/catchment --keys /etc/catchment/keys
  catchment dnsd --zone shop.example=shop.zone --listen 127.0.0.1:5353
  catchment dnsd --zone-list zones.txt --site shop.yaml --mmdb geo.mmdb --listen 127.0.0.1:5353`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spareProcessor()
			if len(alone.Zones) == 0 && alone.ZoneList == "" {
				if len(alone.Listen)+len(alone.Sites) > 0 {
					return errors.New("--listen and --site go with --zone or --zone-list; a node's are in its topology and sites")
				}
				return a.part(cmd, &f, hub, func(o node.Options) (daemon.Daemon, error) { return node.NewService(o, health.DNS) }, "dnsd")
			}
			return a.serve(cmd, &f, "dnsd", func(p *daemon.Process) (daemon.Daemon, error) {
				alone.MMDB, alone.Dir, alone.Logger, alone.Ready = f.mmdb, siteDir(cmd, a.dir), a.logger(&f), p.Ready
				return node.NewStandaloneDNS(alone)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.node, "node", "", "the node's name (default: the host's name)")
	fl.StringArrayVar(&alone.Zones, "zone", nil, "serve a master file, as ORIGIN=FILE; may be repeated")
	fl.StringVar(&alone.ZoneList, "zone-list", "", "file with a line ORIGIN FILE for each zone")
	fl.StringArrayVar(&alone.Sites, "site", nil, "steer the hosts of a site's file among targets of their own; may be repeated")
	fl.StringArrayVar(&alone.Listen, "listen", nil, "address to listen on, as 127.0.0.1:53; may be repeated")
	fl.IntVar(&alone.RateLimit, "rate-limit", 0, "equal answers a second over UDP to one network (default 500; -1 for no limit)")
	fl.StringVar(&alone.CookieSecrets, "cookie-secrets", "", "file of the secrets of DNS cookies, the newest first; all servers of an address share it")
	fl.StringVar(&alone.QueryLog, "query-log", "", "file to append a JSON object a line to for each sampled query")
	fl.IntVar(&alone.LogEvery, "query-log-every", 1000, "write down one query of so many")
	hubFlag(cmd, &hub)
	f.addNode(cmd)
	f.addMMDB(cmd)
	return cmd
}

// siteDir is the configuration's folder where the user named one beside flags that stand alone.
func siteDir(cmd *cobra.Command, dir string) string {
	if cmd.Flags().Changed("config") {
		return dir
	}
	return ""
}

func (a *app) popd() *cobra.Command {
	var f daemonFlags
	var hub, origin, certificate, keyFile string
	var listen, secure []string
	cmd := &cobra.Command{
		Use: "popd", Short: "Run the cache alone: as part of a node, or as a reverse proxy from flags", Args: cobra.NoArgs,
		Example: `  catchment popd --node ams1 -c /etc/catchment --keys /etc/catchment/keys
  catchment popd --listen 127.0.0.1:8080 --origin http://127.0.0.1:9000 --memory 1GiB`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if origin == "" {
				if len(listen)+len(secure)+len(certificate)+len(keyFile) > 0 {
					return errors.New("--listen, --listen-https, --certificate and --key go with --origin; a node's addresses are in its topology, its certificates in its sites")
				}
				return a.part(cmd, &f, hub, func(o node.Options) (daemon.Daemon, error) { return node.NewService(o, health.Web) }, "popd")
			}
			memory, err := parseBytes("--memory", f.memory)
			if err != nil {
				return err
			}
			return a.serve(cmd, &f, "popd", func(p *daemon.Process) (daemon.Daemon, error) {
				return node.NewStandaloneWeb(node.StandaloneWeb{
					Origin: origin, Listen: listen, Secure: secure, Certificate: certificate, Key: keyFile, Memory: memory, State: p.State.Dir, Admin: f.admin, Log: f.accessLog(), Logger: a.logger(&f), Ready: p.Ready,
				})
			})
		},
	}
	cmd.Flags().StringVar(&f.node, "node", "", "the node's name (default: the host's name)")
	cmd.Flags().StringArrayVar(&listen, "listen", nil, "address to listen on, as 127.0.0.1:8080; may be repeated")
	cmd.Flags().StringArrayVar(&secure, "listen-https", nil, "address to listen on over TLS, as 127.0.0.1:8443; may be repeated")
	cmd.Flags().StringVar(&certificate, "certificate", "", "PEM file of the certificate and its chain; a renewed one is taken up")
	cmd.Flags().StringVar(&keyFile, "key", "", "PEM file of its key")
	cmd.Flags().StringVar(&origin, "origin", "", "where all content comes from, as http://HOST[:PORT]")
	hubFlag(cmd, &hub)
	f.addNode(cmd)
	f.addCache(cmd)
	return cmd
}

// prefer has the process that announces run before others: it has little to do, and what it does is awaited by the
// millisecond, above all where the machine is busy.
func prefer(log *slog.Logger) {
	if err := daemon.Prefer(); err != nil {
		log.Debug("no priority", "error", err)
	}
}

// oneProcessor has a speaker that stands alone run on one processor at a time (unless $GOMAXPROCS says what it shall be):
// it sleeps between keepalives, and each that wakes it woke a second thread for nothing, a fifth of all that it takes. BFD
// needs a processor while anything else has one.
func oneProcessor(s node.StandaloneBGP) {
	if s.BFD == 0 && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

func (a *app) bgpd() *cobra.Command {
	var f daemonFlags
	var s node.StandaloneBGP
	var routerID, nextHops, peers, announce, listen []string
	cmd := &cobra.Command{
		Use: "bgpd", Short: "Run the BGP speaker and hub alone: as part of a node, or beside any service from flags", Args: cobra.NoArgs,
		Example: `  catchment bgpd --node ams1 -c /etc/catchment --keys /etc/catchment/keys
  catchment bgpd --asn 64500 --router-id 198.18.0.2 --peer 198.18.0.1=64496 --next-hop 198.18.0.2 \
      --announce 192.0.2.0/24 --probe http://127.0.0.1/health --interval 100ms --fall 3`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.ASN == 0 {
				if alone := len(routerID) + len(peers) + len(announce) + len(nextHops) + len(listen) + len(s.Probe) + len(s.Lifeline); alone > 0 {
					return errors.New("--router-id, --peer, --announce, --next-hop, --listen, --probe and --lifeline go with --asn; a node's are in its topology")
				}
				return a.part(cmd, &f, "", func(o node.Options) (daemon.Daemon, error) {
					prefer(o.Logger)
					return node.NewHub(o)
				}, "")
			}
			if f.vips {
				return errors.New("--vips goes with a node, whose topology names its service addresses")
			}
			if err := s.Parse(routerID, peers, announce, nextHops, listen); err != nil {
				return err
			}
			return a.serve(cmd, &f, "bgpd", func(p *daemon.Process) (daemon.Daemon, error) {
				s.State, s.Admin, s.Logger, s.Ready = p.State.Dir, f.admin, a.logger(&f), p.Ready
				prefer(s.Logger)
				oneProcessor(s)
				return node.NewStandaloneBGP(s)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.node, "node", "", "the node's name (default: the host's name)")
	fl.Uint32Var(&s.ASN, "asn", 0, "our AS number; with it everything comes from flags")
	fl.StringArrayVar(&routerID, "router-id", nil, "our router id, an IPv4 address")
	fl.StringArrayVar(&peers, "peer", nil, "a neighbour, as IP=ASN or IP:PORT=ASN; may be repeated")
	fl.StringArrayVar(&announce, "announce", nil, "a prefix to announce while the service is well; may be repeated")
	fl.StringArrayVar(&nextHops, "next-hop", nil, "where the traffic shall go: one address for each family announced")
	fl.StringArrayVar(&listen, "listen", nil, "address to wait for sessions on, as 198.18.0.2:179 (default: only connect)")
	fl.StringVar(&s.Probe, "probe", "", "what tells that the service is well: http://…, dns://ADDR/NAME, tcp://ADDR, exec:COMMAND")
	fl.DurationVar(&s.Interval, "interval", 100*time.Millisecond, "between two probes")
	fl.DurationVar(&s.Timeout, "timeout", 80*time.Millisecond, "for one answer")
	fl.IntVar(&s.Fall, "fall", 3, "probes that must fail in a row")
	fl.DurationVar(&s.Rise, "rise", 10*time.Second, "how long probes must be good after a fall")
	fl.StringVar(&s.Lifeline, "lifeline", "", "connection whose end means the service's death: unix:PATH or tcp://ADDR")
	fl.DurationVar(&s.Hold, "hold", 9*time.Second, "BGP hold time")
	fl.DurationVar(&s.BFD, "bfd", 0, "between two BFD packets to each peer, as 50ms; three that are missing end the session (default: no BFD)")
	f.addNode(cmd)
	return cmd
}
