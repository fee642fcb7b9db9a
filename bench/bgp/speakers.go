//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/labs/runner"
)

// speaker is what announces at a POP.
type speaker struct {
	name   string
	isOurs bool     // it tells of its events
	isNode bool     // our whole node, with its own services beside the responder
	victim []string // processes that die or hang in a trial, after "best1/"
	drain  drain
	forget []string // what it remembers over a restart, in the node's folder
	// processes start it on a POP's machine; nil for our node, which the lab starts.
	processes func(stand) ([]runner.Process, error)
}

// stand is where a speaker stands.
type stand struct {
	binary  string
	machine *layout.Machine
	dir     string
	bfd     time.Duration
}

func (s stand) health() string { return fmt.Sprintf("http://%s:%d/health", vips[0], webPort) }

// process is one of the speaker's.
func (s stand) process(name string, env []string, argv ...string) runner.Process {
	return runner.Process{Name: s.machine.Name + "/" + name, Log: name + ".log", Argv: argv, Env: env}
}

func (s stand) file(name, text string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o700)
}

// adminSocket is the name of our speakers' socket in a node's folder.
const adminSocket = "admin.sock"

// ours is `catchment bgpd` beside a service of others.
func ours() speaker {
	return speaker{
		name: "catchment bgpd", isOurs: true, victim: []string{"service"}, forget: []string{"speaker"}, drain: drainBySignal,
		processes: func(s stand) ([]runner.Process, error) {
			argv := []string{
				s.binary, "bgpd", "--asn", "65100", "--router-id", s.machine.RouterID.String(), "--state", filepath.Join(s.dir, "speaker"),
				"--admin", filepath.Join(s.dir, adminSocket), "--probe", s.health(), "--lifeline", fmt.Sprintf("tcp://%s:%d", vips[0], webPort),
				"--interval", "20ms", "--timeout", "20ms", "--fall", "3", "--rise", "1s",
			}
			argv = append(argv, s.announces()...)
			if s.bfd > 0 {
				argv = append(argv, "--bfd", s.bfd.String())
			}
			return []runner.Process{s.process("speaker", nil, argv...)}, nil
		},
	}
}

// announces are the flags about peers and prefixes.
func (s stand) announces() []string {
	i := s.machine.Interfaces[0]
	argv := []string{"--next-hop", i.V4.String(), "--next-hop", i.V6.String(), "--listen", i.V4.String() + ":179"}
	for _, i := range s.machine.Interfaces {
		argv = append(argv, "--peer", fmt.Sprintf("%s=%d", i.Peer.V4, i.Peer.Machine.ASN))
	}
	for _, p := range prefixes {
		argv = append(argv, "--announce", p.String())
	}
	return argv
}

// thousand is ours with a thousand prefixes more.
func thousand() speaker {
	sp := ours()
	plain := sp.processes
	sp.processes = func(s stand) ([]runner.Process, error) {
		all, err := plain(s)
		for i := range manyPrefixes {
			all[0].Argv = append(all[0].Argv, "--announce", many(i).String())
		}
		return all, err
	}
	return sp
}

// bare is ours without gossip, probes and lifeline.
func bare() speaker {
	sp := ours()
	sp.name = "catchment bgpd, no probes"
	sp.processes = func(s stand) ([]runner.Process, error) {
		argv := append([]string{
			s.binary, "bgpd", "--asn", "65100", "--router-id", s.machine.RouterID.String(), "--state", filepath.Join(s.dir, "speaker"),
			"--admin", filepath.Join(s.dir, adminSocket),
		}, s.announces()...)
		return []runner.Process{s.process("speaker", nil, argv...)}, nil
	}
	return sp
}

// ourNode is a whole node, whose web server dies.
func ourNode() speaker {
	return speaker{name: "catchment node", isOurs: true, isNode: true, victim: []string{"popd", "service"}, drain: drainByCommand, forget: []string{"intents.json"}}
}

// pace is how often a foreign speaker looks after the service.
type pace struct {
	name           string
	interval, fast string // seconds
	fall           int
}

var (
	exabgpFast    = pace{"fastest", "0.1", "0.1", 1} //nolint:gochecknoglobals // a constant table
	exabgpDefault = pace{"defaults", "5", "1", 3}    //nolint:gochecknoglobals // a constant table
	scriptFast    = pace{"0.1 s", "0.1", "0.1", 1}   //nolint:gochecknoglobals // a constant table
	scriptSlow    = pace{"10 s", "10", "10", 2}      //nolint:gochecknoglobals // as anycast-healthchecker's
)

// exabgp is Debian's ExaBGP with its healthcheck, one for each family. The healthcheck waits for the session: what it says
// before is never announced.
func exabgp(p pace) speaker {
	return speaker{
		name: "ExaBGP healthcheck, " + p.name, victim: []string{"service"}, drain: drainByFile, forget: []string{"disabled"},
		processes: func(s stand) ([]runner.Process, error) {
			i := s.machine.Interfaces[0]
			var conf strings.Builder
			hops := []string{i.V4.String(), i.V6.String()}
			for n, prefix := range prefixes {
				name := fmt.Sprintf("watch%d", n)
				script, err := s.file(name, fmt.Sprintf("#!/bin/sh\nsleep 4\nexec /usr/bin/exabgp-healthcheck --no-ack --no-syslog --no-ip-setup --ip %s --next-hop %s --interval %s --fast-interval %s --rise 1 --fall %d --timeout 1 --withdraw-on-down --disable %s --cmd 'curl -sf -m 1 -o /dev/null %s'\n",
					prefix, hops[n], p.interval, p.fast, p.fall, filepath.Join(s.dir, "disabled"), s.health()))
				if err != nil {
					return nil, err
				}
				fmt.Fprintf(&conf, "process %s {\n  run %s;\n  encoder text;\n}\n", name, script)
			}
			fmt.Fprintf(&conf, "neighbor %s {\n  router-id %s;\n  local-address %s;\n  local-as 65100;\n  peer-as %d;\n  hold-time 9;\n  family { ipv4 unicast; ipv6 unicast; }\n  api { processes [ watch0, watch1 ]; }\n}\n",
				i.Peer.V4, s.machine.RouterID, i.V4, i.Peer.Machine.ASN)
			file, err := s.file("exabgp.conf", conf.String())
			env := []string{
				"exabgp.daemon.user=root", "exabgp.log.destination=stderr", "exabgp.log.level=ERR", "exabgp.api.ack=false", "exabgp.api.cli=false",
				"exabgp.cache.attributes=false", "PYTHONUNBUFFERED=1",
			}
			return []runner.Process{s.process("speaker", env, "/usr/sbin/exabgp", file)}, err
		},
	}
}

// birdConf is BIRD with two static routes that a script takes away.
const birdConf = `log stderr all;
router id %[1]s;
protocol device {}
protocol static any4 { ipv4; route %[2]s unreachable; }
protocol static any6 { ipv6; route %[3]s unreachable; }
protocol bgp transit {
  local %[4]s as 65100;
  neighbor %[5]s as %[6]d;
  direct;
  hold time 9; keepalive time 3;
  connect delay time 1; connect retry time 1; error wait time 1, 1;
  ipv4 { import none; export where source = RTS_STATIC; next hop self; };
  ipv6 { import none; export where source = RTS_STATIC; next hop self; next hop address %[7]s; };
}
`

// birdScript looks after the service: SOCKET INTERVAL FALL URL DISABLED.
const birdScript = `#!/bin/sh
bad=0 up=1
while :; do
  if [ ! -e "$5" ] && curl -sf -m 1 -o /dev/null "$4"; then
    bad=0
    [ $up = 1 ] || { birdc -s "$1" enable '"any*"' >/dev/null; up=1; }
  else
    bad=$((bad + 1))
    if [ -e "$5" ] || [ $bad -ge "$3" ]; then
      [ $up = 0 ] || { birdc -s "$1" disable '"any*"' >/dev/null; up=0; }
    fi
  fi
  sleep "$2"
done
`

// birdAndScript is BIRD with a health script beside it.
func birdAndScript(p pace) speaker {
	return speaker{
		name: "BIRD and a script, " + p.name, victim: []string{"service"}, drain: drainByFile, forget: []string{"disabled"},
		processes: func(s stand) ([]runner.Process, error) {
			i := s.machine.Interfaces[0]
			conf, err := s.file("bird.conf", fmt.Sprintf(birdConf, s.machine.RouterID, prefixes[0], prefixes[1], i.V4, i.Peer.V4, i.Peer.Machine.ASN, i.V6))
			if err != nil {
				return nil, err
			}
			script, err := s.file("watch.sh", birdScript)
			socket := filepath.Join(s.dir, "bird.ctl")
			return []runner.Process{
				s.process("speaker", nil, "/usr/sbin/bird", "-f", "-c", conf, "-s", socket, "-P", filepath.Join(s.dir, "bird.pid")),
				s.process("script", nil, "/bin/sh", script, socket, p.interval, fmt.Sprint(p.fall), s.health(), filepath.Join(s.dir, "disabled")),
			}, err
		},
	}
}
