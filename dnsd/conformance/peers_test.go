//go:build linux

package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd"
	"github.com/catchment-net/catchment/dnsd/rrl"
)

const (
	readyIn  = 30 * time.Second // how long a peer may take to load all zones
	logShown = 2000             // bytes of a peer's log, from its end, after a failure
)

// server is one name server under comparison, asked over UDP and TCP at one address.
type server struct {
	name string
	addr netip.AddrPort
}

// peer says how a name server of others is started.
type peer struct {
	name    string
	command string // of Debian's package
	args    func(conf string) []string
	conf    func(dir string, at netip.AddrPort, zones []zoneFile) string
}

// peers run with as little extra data as they can: what all three then send, everybody needs.
func peers() []peer {
	return []peer{
		{"knot", "knotd", func(conf string) []string { return []string{"-c", conf} }, knotConf},
		{"nsd", "nsd", func(conf string) []string { return []string{"-d", "-c", conf} }, nsdConf},
		{"bind", "named", func(conf string) []string { return []string{"-g", "-n", "1", "-c", conf} }, bindConf},
	}
}

func knotConf(dir string, at netip.AddrPort, zones []zoneFile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server:\n    rundir: %q\n    listen: %s@%d\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n", dir, at.Addr(), at.Port())
	fmt.Fprintf(&b, "log:\n  - target: stderr\n    any: warning\ndatabase:\n    storage: %q\n", dir)
	fmt.Fprintf(&b, "template:\n  - id: default\n    storage: %q\n    zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: none\nzone:\n", dir)
	for _, z := range zones {
		fmt.Fprintf(&b, "  - domain: %q\n    file: %q\n", z.origin, z.file())
	}
	return b.String()
}

func nsdConf(dir string, at netip.AddrPort, zones []zoneFile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server:\n    server-count: 1\n    ip-address: %s@%d\n    username: \"\"\n    chroot: \"\"\n    zonesdir: %q\n    database: \"\"\n", at.Addr(), at.Port(), dir)
	for _, file := range []string{"pidfile", "xfrdfile", "zonelistfile", "cookie-secret-file"} {
		fmt.Fprintf(&b, "    %s: %q\n", file, filepath.Join(dir, file))
	}
	fmt.Fprintf(&b, "    xfrdir: %q\n    rrl-ratelimit: 0\n    rrl-whitelist-ratelimit: 0\n    minimal-responses: yes\n    refuse-any: no\n", dir)
	b.WriteString("remote-control:\n    control-enable: no\n")
	for _, z := range zones {
		fmt.Fprintf(&b, "zone:\n    name: %q\n    zonefile: %q\n", z.origin, z.file())
	}
	return b.String()
}

func bindConf(dir string, at netip.AddrPort, zones []zoneFile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "options {\n  directory %q; pid-file \"named.pid\"; session-keyfile \"session.key\"; lock-file none;\n", dir)
	fmt.Fprintf(&b, "  listen-on port %d { %s; }; listen-on-v6 { none; };\n", at.Port(), at.Addr())
	b.WriteString("  recursion no; notify no; allow-transfer { none; }; empty-zones-enable no; dnssec-validation no; server-id none;\n")
	b.WriteString("  minimal-responses yes; edns-udp-size 1232; max-udp-size 1232; check-integrity no; check-names primary ignore; rrset-order { order none; };\n")
	b.WriteString("};\ncontrols {};\n")
	for _, z := range zones {
		fmt.Fprintf(&b, "zone %q { type primary; file %q; };\n", z.origin, z.file())
	}
	return b.String()
}

// start runs the peer with the zones until the test ends. It returns once the peer answers for the last zone.
func (p peer) start(t *testing.T, zones []zoneFile) server {
	t.Helper()
	return p.startAt(t, freePort(t), zones)
}

func (p peer) startAt(t *testing.T, at netip.AddrPort, zones []zoneFile) server {
	t.Helper()
	dir := t.TempDir()
	for _, z := range zones {
		write(t, filepath.Join(dir, z.file()), z.text)
	}
	conf := filepath.Join(dir, p.name+".conf")
	write(t, conf, p.conf(dir, at, zones))
	ended := startProcess(t, p.name, dir, p.command, p.args(conf)...)
	s := server{p.name, at}
	waitReady(t, s, zones[len(zones)-1].origin, ended)
	return s
}

// startProcess runs a program until the test ends; the channel says when it ends by itself.
func startProcess(t *testing.T, name, dir, command string, args ...string) chan error {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(command, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // nsd has children
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if err := <-ended; err == nil {
			t.Logf("%s has ended by itself", name)
		}
		if text := log.String(); t.Failed() {
			t.Logf("%s says:\n%s", name, text[max(0, len(text)-logShown):])
		}
	})
	return ended
}

// waitReady asks for the zone's SOA until it comes.
func waitReady(t *testing.T, s server, origin string, ended chan error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyIn)
	defer cancel()
	c := dns.Client{Timeout: 100 * time.Millisecond}
	for {
		m, _, err := c.ExchangeContext(ctx, new(dns.Msg).SetQuestion(origin, dns.TypeSOA), s.addr.String())
		if err == nil && len(m.Answer) == 1 {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v", s.name, err)
		case <-ctx.Done():
			t.Fatalf("%s does not answer for %s within %v (last: %v)", s.name, origin, readyIn, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort is an address of loopback whose port is free for both transports at the moment.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 20 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := tcp.Addr().(*net.TCPAddr).AddrPort()
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		tcp.Close()
		if err == nil {
			udp.Close()
			return at
		}
	}
	t.Fatal("no port is free for UDP and TCP")
	return netip.AddrPort{}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ours is our own server with the zones.
func ours(t *testing.T, zones []zoneFile) server {
	t.Helper()
	var conf dnsd.Config
	for _, z := range zones {
		conf.Zones = append(conf.Zones, dnsd.ZoneSource{Origin: z.origin, File: z.file(), Text: []byte(z.text)})
	}
	at := make(chan string, 1)
	s, err := dnsd.New(dnsd.Options{Listen: []string{"127.0.0.1:0"}, RateLimit: rrl.Options{Rate: -1}, Ready: func(addrs []string) { at <- addrs[0] }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(conf); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return server{"ours", netip.MustParseAddrPort(<-at)}
}
