//go:build linux

package speaker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What this binary has been started as, where it is not the test.
const (
	insideEnv  = "CATCHMENT_TEST_INSIDE"  // a test's name: it runs in namespaces of its own
	rootEnv    = "CATCHMENT_TEST_ROOT"    // it is not the root of a user namespace alone
	speakerEnv = "CATCHMENT_TEST_SPEAKER" // Options in JSON: a speaker in one network namespace
)

func TestMain(m *testing.M) {
	if conf := os.Getenv(speakerEnv); conf != "" {
		if err := speakAlone(conf); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// speakAlone runs a speaker until its standard input ends and writes its sessions as lines of JSON. A line that it
// reads says "down" or "up" and the address of a neighbour whose link has lost its carrier, or has it again.
func speakAlone(conf string) error {
	var o struct {
		Options
		Routes []Route
	}
	if err := json.Unmarshal([]byte(conf), &o); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	o.OnSession = func(s Session) { _ = out.Encode(s) }
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	s, err := New(o.Options)
	if err != nil {
		return err
	}
	if err := s.Set(o.Routes); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			what, text, _ := strings.Cut(lines.Text(), " ")
			switch addr, err := netip.ParseAddr(text); {
			case err != nil:
			case what == "up":
				s.Reconnect(addr)
			default:
				_ = s.Reset(addr, "link is down")
			}
		}
		cancel()
	}()
	return s.Run(ctx)
}

// inside runs the calling test again in a network and mount namespace of its own, as the root of a user namespace where
// we are not root, and reports whether this is that run. The test skips where the host allows none.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		setUpInside(t)
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m", "-test.parallel=24")
	cmd.Env = append(os.Environ(), insideEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.Env = append(cmd.Env, rootEnv+"=yes")
	} else {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Skipf("this host allows no network namespaces: %v", err)
	} else if err != nil {
		t.Errorf("in namespaces of its own: %v\n%s", exit, out)
	} else if bytes.Contains(out, []byte("--- SKIP: "+t.Name()+" ")) {
		t.Skipf("in namespaces of its own: %s", out)
	} else {
		t.Logf("%s", out)
	}
	return false
}

func setUpInside(t *testing.T) {
	t.Helper()
	for _, line := range []string{
		"mount --make-rprivate /", "mount -t tmpfs none /run", "mount -t tmpfs none /var/tmp", "ip link set lo up",
		// zebra insists that who starts it is in the group of vtysh.
		"sed '/^frrvty:/ { s/$/,root/; s/:,/:/ }' /etc/group > /run/group && mount --bind /run/group /etc/group",
	} {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput(); err != nil {
			t.Skipf("%s: %v: %s", line, err, out)
		}
	}
}

// host is a network namespace; without a name it is ours.
type host struct{ name string }

// sh runs a line of shell in the host.
func (h host) sh(t *testing.T, format string, args ...any) string {
	t.Helper()
	out, err := h.command("sh", "-c", fmt.Sprintf(format, args...)).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %s: %v: %s", h.name, fmt.Sprintf(format, args...), err, out)
	}
	return string(out)
}

func (h host) command(name string, args ...string) *exec.Cmd {
	if h.name == "" {
		return exec.Command(name, args...)
	}
	cmd := exec.Command("nsenter", slices.Concat([]string{"--net=/run/netns/" + h.name, "--", name}, args)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func newHost(t *testing.T, name string) host {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v: %s", err, out)
	}
	h := host{name}
	h.sh(t, "ip link set lo up; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	return h
}

// join lays a line between two hosts; both ends have the interface name of the other host.
func join(t *testing.T, a host, addrA string, b host, addrB string) {
	t.Helper()
	a.sh(t, "ip link add %s type veth peer name %s netns %s", "to-"+b.name, "to-"+a.name, b.name)
	for _, end := range []struct {
		h, to host
		addr  string
	}{{a, b, addrA}, {b, a, addrB}} {
		bits := 30
		if strings.Contains(end.addr, ":") {
			bits = 64
		}
		end.h.sh(t, "ip addr add %s/%d dev to-%s nodad && ip link set to-%s up", end.addr, bits, end.to.name, end.to.name)
	}
}

// refused counts the segments that the host's kernel has dropped for a signature or a TTL, or by a socket's filter.
func (h host) refused(t *testing.T) int {
	t.Helper()
	n := 0
	count := func(digits string) {
		i, _ := strconv.Atoi(digits)
		n += i
	}
	lines := strings.Split(h.sh(t, "cat /proc/net/netstat"), "\n")
	values := strings.Fields(lines[1])
	for i, name := range strings.Fields(lines[0]) {
		if slices.Contains([]string{"TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure", "TCPMinTTLDrop"}, name) {
			count(values[i])
		}
	}
	for _, drops := range regexp.MustCompile(`skmem:\([^)]*,d(\d+)\)`).FindAllStringSubmatch(h.sh(t, "ss -tanm"), -1) {
		count(drops[1])
	}
	return n
}

// process is a speaker of ours in a host.
type process struct {
	in       io.Writer
	mu       sync.Mutex // guards the following
	sessions []Session
}

func (p *process) was(state State) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.sessions, func(s Session) bool { return s.State == state })
}

// last returns the session as it was last heard of.
func (p *process) last() Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sessions) == 0 {
		return Session{}
	}
	return p.sessions[len(p.sessions)-1]
}

// speak starts a speaker of ours; it ends with the test.
func (h host) speak(t *testing.T, o Options, routes ...Route) *process {
	t.Helper()
	conf, err := json.Marshal(map[string]any{
		"ASN": o.ASN, "RouterID": o.RouterID, "Listen": o.Listen, "Neighbors": o.Neighbors, "Monitors": o.Monitors, "Routes": routes,
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.command(os.Args[0])
	cmd.Env = append(os.Environ(), speakerEnv+"="+string(conf))
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{in: in}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var s Session
			if json.Unmarshal(lines.Bytes(), &s) == nil {
				p.mu.Lock()
				p.sessions = append(p.sessions, s)
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-read
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("speaker in %s: %v\n%s", h.name, err, said.Bytes())
		}
	})
	return p
}

// daemon starts another's daemon with a configuration file; %s in args is the file. It ends with the test.
func (h host) daemon(t *testing.T, conf, name string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "%s", file)
	}
	var said bytes.Buffer
	cmd := h.command(name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		if t.Failed() {
			t.Logf("%s in %s:\n%s", name, h.name, said.Bytes())
		}
	})
}

const frrBGPD, frrZebra = "/usr/lib/frr/bgpd", "/usr/lib/frr/zebra"

// installed reports whether the daemon of that software is there.
func installed(software string) bool {
	switch software {
	case "bird":
		_, err := exec.LookPath("bird")
		return err == nil
	case "frr":
		_, err := os.Stat(frrBGPD)
		return err == nil
	}
	return true
}

// protected is what one end of a session asks for.
type protected struct {
	password string
	gtsm     bool
	hops     int // TTL that it sends otherwise; 0 means 1
}

// end is one end of a session, for any software.
type end struct {
	local, remote netip.Addr
	localAS, peer uint32
	passive       bool
	protected
	listen bool // though it dials, too
	kernel bool // FRR: with zebra
}

// other is the other end, with the same protection.
func (e end) other(passive bool) end {
	return end{local: e.remote, remote: e.local, localAS: e.peer, peer: e.localAS, passive: passive, protected: e.protected}
}

func (e end) ours() Options {
	n := Neighbor{
		Name: "peer", Address: e.remote, ASN: e.peer, Local: e.local, Passive: e.passive,
		Password: e.password, TTLSecurity: e.gtsm, Multihop: uint8(e.hops), HoldTime: 3 * time.Second,
	}
	o := Options{ASN: e.localAS, RouterID: netip.AddrFrom4([4]byte{10, 0, byte(e.localAS >> 8), byte(e.localAS)}), Neighbors: []Neighbor{n}}
	if e.passive || e.listen {
		o.Listen = []netip.AddrPort{netip.AddrPortFrom(e.local, 179)}
	}
	return o
}

// run starts the software at this end of the session.
func (e end) run(t *testing.T, h host, software string) *process {
	t.Helper()
	var lines []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			lines = append(lines, fmt.Sprintf(format, args...))
		}
	}
	switch software {
	case "bird":
		add(true, "router id 10.0.0.1; log stderr all; protocol device {}")
		add(true, "protocol bgp peer { local %s as %d; neighbor %s as %d; connect delay time 1; connect retry time 1; error wait time 1, 1; ipv4 { import all; export none; }; ipv6 { import all; export none; };",
			e.local, e.localAS, e.remote, e.peer)
		add(e.passive, "passive yes;")
		add(e.password != "", "password %q;", e.password)
		add(e.gtsm, "ttl security yes;")
		add(e.hops > 0, "multihop %d;", e.hops)
		add(true, "}\n")
		h.daemon(t, strings.Join(lines, "\n"), "bird", "-f", "-c", "%s", "-s", "%s.ctl", "-P", "%s.pid")
	case "frr":
		add(true, "router bgp %d\n bgp router-id 10.0.0.1\n no bgp ebgp-requires-policy\n neighbor %s remote-as %d\n neighbor %s timers connect 1", e.localAS, e.remote, e.peer, e.remote)
		add(e.passive, " neighbor %s passive", e.remote)
		add(e.password != "", " neighbor %s password %s", e.remote, e.password)
		add(e.gtsm, " neighbor %s ttl-security hops 1", e.remote)
		add(e.hops > 0, " neighbor %s ebgp-multihop %d", e.remote, e.hops)
		add(true, "")
		dir := t.TempDir()
		args := []string{"-n", "-S", "-f", "%s", "-i", filepath.Join(dir, "pid"), "--vty_socket", dir, "-l", e.local.String(), "--log", "stdout"}
		if e.kernel { // zebra tells bgpd of links
			zserv := filepath.Join(dir, "zserv.api")
			h.daemon(t, "", frrZebra, "-f", "%s", "-i", filepath.Join(dir, "zebra.pid"), "--vty_socket", dir, "-P", "0", "-u", "root", "-g", "root", "-z", zserv, "--log", "stdout")
			await(t, "zebra", func() bool {
				conn, err := net.Dial("unix", zserv)
				if err == nil {
					conn.Close()
				}
				return err == nil
			})
			args = append(args, "-z", zserv)
		} else {
			args = append(args, "-Z")
		}
		h.daemon(t, strings.Join(lines, "\n"), frrBGPD, args...)
	default:
		return h.speak(t, e.ours())
	}
	return nil
}
