//go:build linux

package bfd

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/bgpd/speaker"
)

// The scene of the tests with FRR and BIRD: this process has a network namespace of its own, and the neighbour another.
//
//	this test ─ v0  198.18.0.1/30, fdca::1/64  ═══  198.18.0.2/30, fdca::2/64  v1 ─ bfdd or bird
const (
	our4, their4 = "198.18.0.1", "198.18.0.2"
	our6, their6 = "fdca::1", "fdca::2"
	insideVar    = "CATCHMENT_TEST_INSIDE"
)

// scene is the neighbour's side of it.
type scene struct {
	t   *testing.T
	dir string
	pid string // of a process in the neighbour's namespace

	raised bool // the neighbour's daemons are above ordinary processes, too
}

// isolated runs fn in a process of its own with the scene around it. It needs root, as FRR does.
func isolated(t *testing.T, needs string, fn func(*scene)) {
	t.Helper()
	if _, err := exec.LookPath(needs); err != nil || os.Geteuid() != 0 {
		t.Skipf("needs root and %s", needs)
	}
	if os.Getenv(insideVar) == "" {
		args := append(slices.Clone(os.Args[1:]), "-test.run=^"+t.Name()+"$", "-test.v") // the last ones win
		cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
		cmd.Env = append(os.Environ(), insideVar+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		} else {
			t.Logf("%s", out)
		}
		return
	}
	s := &scene{t: t, dir: t.TempDir()}
	far := s.start("unshare", "--net", "sleep", "1000")
	s.pid = strconv.Itoa(far.Process.Pid)
	s.sh(`mount --make-rprivate / && mount -t tmpfs none /var/tmp &&
		sed 's/^\(frrvty:.*:\)$/\1root/; s/^\(frrvty:.*[a-z]\)$/\1,root/' /etc/group > group && mount --bind group /etc/group
		for i in $(seq 100); do [ "$(readlink /proc/self/ns/net)" != "$(readlink /proc/` + s.pid + `/ns/net)" ] && break; sleep 0.01; done
		ip link add v0 type veth peer name v1 netns ` + s.pid + ` && ip link set lo up && ip link set v0 up &&
		ip addr add ` + our4 + `/30 dev v0 && ip addr add ` + our6 + `/64 dev v0 nodad`)
	s.there("sh", "-c", "ip link set lo up && ip link set v1 up && ip addr add "+their4+"/30 dev v1 && ip addr add "+their6+"/64 dev v1 nodad")
	fn(s)
}

func (s *scene) sh(script string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "sh", "-c", script)
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// there runs a command in the neighbour's namespace.
func (s *scene) there(args ...string) string {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), "nsenter", append([]string{"-t", s.pid, "-n"}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// start starts what is killed at the end of the test.
func (s *scene) start(args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &said, &said, s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("%s said:\n%s", args, said.String())
		}
	})
	return cmd
}

func (s *scene) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// neighbor is software that the tests speak BFD with, over both families.
type neighbor struct {
	process  *os.Process // whose stop makes it silent
	off, on  func()      // sessions are ended and begun on purpose
	sees     func() string
	restarts func() // it dies, and another one takes its place
}

const frrFolder = "/usr/lib/frr/"

func (s *scene) frr(every time.Duration) *neighbor {
	conf := "bfd\n"
	for _, pair := range [][2]string{{our4, their4}, {our6, their6}} {
		conf += fmt.Sprintf(" peer %s local-address %s interface v1\n  transmit-interval %d\n  receive-interval %d\n exit\n", pair[0], pair[1], every.Milliseconds(), every.Milliseconds())
	}
	s.write("bfdd.conf", conf+"exit\n")
	s.write("zebra.conf", "")
	daemon := func(name string, more ...string) *exec.Cmd {
		args := []string{"nsenter", "-t", s.pid, "-n"}
		if s.raised {
			args = append(args, "chrt", "--rr", "1")
		}
		args = append(args, frrFolder+name, "-f", name+".conf", "-i", s.dir+"/"+name+".pid", "-z", s.dir+"/zserv", "--vty_socket", s.dir, "-P", "0", "-u", "root", "-g", "root", "--log", "stdout")
		return s.start(append(args, more...)...)
	}
	daemon("zebra")
	await(s.t, "zebra", func() bool { _, err := os.Stat(filepath.Join(s.dir, "zserv")); return err == nil })
	n := &neighbor{process: daemon("bfdd", "--bfdctl", s.dir+"/bfdd.sock").Process}
	vtysh := func(commands ...string) string {
		args := []string{"--vty_socket", s.dir, "-d", "bfdd"}
		for _, c := range commands {
			args = append(args, "-c", c)
		}
		out, _ := exec.CommandContext(s.t.Context(), "vtysh", args...).CombinedOutput()
		return string(out)
	}
	n.sees = func() string { return vtysh("show bfd peers") }
	each := func(word string) func() {
		return func() {
			for _, pair := range [][2]string{{our4, their4}, {our6, their6}} {
				if out := vtysh("configure terminal", "bfd", "peer "+pair[0]+" local-address "+pair[1]+" interface v1", word); strings.Contains(out, "%") {
					s.t.Fatal(out)
				}
			}
		}
	}
	n.off, n.on = each("shutdown"), each("no shutdown")
	n.restarts = func() {
		_ = n.process.Kill()
		n.process = daemon("bfdd", "--bfdctl", s.dir+"/bfdd.sock").Process
	}
	return n
}

func (s *scene) bird(every time.Duration) *neighbor {
	s.write("bird.conf", fmt.Sprintf(`router id 198.18.0.2; log stderr all; protocol device {}
protocol bfd watch {
	interface "v1" { interval %d ms; multiplier 3; };
	neighbor %s dev "v1"; neighbor %s dev "v1";
}
`, every.Milliseconds(), our4, our6))
	run := func() *os.Process {
		return s.start("nsenter", "-t", s.pid, "-n", "bird", "-f", "-c", "bird.conf", "-s", s.dir+"/ctl", "-P", s.dir+"/pid").Process
	}
	n := &neighbor{process: run()}
	ask := func(words ...string) string {
		out, _ := exec.CommandContext(s.t.Context(), "birdc", append([]string{"-s", s.dir + "/ctl"}, words...)...).CombinedOutput()
		return string(out)
	}
	n.sees = func() string { return ask("show", "bfd", "sessions") }
	n.off, n.on = func() { ask("disable", "watch") }, func() { ask("enable", "watch") }
	n.restarts = func() {
		_ = n.process.Kill()
		n.process = run()
	}
	return n
}

// watching is an endpoint with a session of each family, until stop is called.
func (s *scene) watching(every time.Duration) (e *Endpoint, stop func()) {
	s.t.Helper()
	return s.watchingWith(Options{}, every)
}

func (s *scene) watchingWith(o Options, every time.Duration) (e *Endpoint, stop func()) {
	s.t.Helper()
	e, err := New(o)
	if err == nil {
		err = e.Set([]Peer{
			{Name: "four", Local: netip.MustParseAddr(our4), Remote: netip.MustParseAddr(their4), Timing: Timing{Interval: every}},
			{Name: "six", Local: netip.MustParseAddr(our6), Remote: netip.MustParseAddr(their6), Timing: Timing{Interval: every}},
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	}
}

func all(e *Endpoint, ok func(Status) bool) bool {
	sessions := e.Sessions()
	for _, v := range sessions {
		if !ok(v) {
			return false
		}
	}
	return len(sessions) == 2
}

// upAt says that both sessions are up at the negotiated interval.
func upAt(e *Endpoint, every time.Duration) func() bool {
	return func() bool {
		return all(e, func(v Status) bool { return v.State == Up && v.Interval == every && v.Detection == 3*every })
	}
}

// withNeighbor is what holds with any software that keeps to the RFC.
func withNeighbor(t *testing.T, s *scene, n *neighbor, every time.Duration) {
	t.Helper()
	e, stop := s.watching(every)
	defer func() { stop() }()
	await(t, "both up", upAt(e, every))

	// A neighbour that falls silent is found within its detection time; the slack is this host's load.
	const slack = 300 * ms
	if err := n.process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	await(t, "silence is found", func() bool { return all(e, func(v Status) bool { return v.State != Up }) })
	took := time.Since(began)
	t.Logf("%v: silence found after %v", every, took.Round(ms/10))
	if took > 3*every+slack || !all(e, func(v Status) bool { return v.Failed && v.Diag == DetectionRan && v.Downs == 1 }) {
		t.Errorf("after %v: %+v", took, e.Sessions())
	}
	if err := n.process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, "up again", upAt(e, every))

	n.off() // FRR says so; BIRD says nothing, but its host does that nobody listens
	await(t, "ended on purpose", func() bool { return all(e, func(v Status) bool { return v.State == Down && !v.Failed }) })
	n.on()
	await(t, "up once more", upAt(e, every))

	n.restarts()
	await(t, "its successor", func() bool { return upAt(e, every)() && all(e, func(v Status) bool { return v.Downs >= 3 }) })

	// We restart: another discriminator, another port.
	stop()
	e, stop = s.watching(every)
	await(t, "our successor", upAt(e, every))
	if downs := all(e, func(v Status) bool { return v.Downs == 0 }); !downs {
		t.Errorf("the successor's sessions went down: %+v", e.Sessions())
	}
}

func TestWithFRR(t *testing.T) {
	isolated(t, frrFolder+"bfdd", func(s *scene) {
		for _, every := range neighborIntervals() {
			t.Run(every.String(), func(t *testing.T) {
				in := &scene{t: t, dir: t.TempDir(), pid: s.pid}
				withNeighbor(t, in, in.frr(every), every)
			})
		}
	})
}

// The neighbour of an FRR whose BGP has ttl-security is told what is wrong.
func TestFRRWithTTLSecurity(t *testing.T) {
	isolated(t, frrFolder+"bgpd", func(s *scene) {
		const every = 50 * ms
		n := s.frr(every)
		s.write("bgpd.conf", fmt.Sprintf("router bgp 64496\n bgp router-id 198.18.0.2\n neighbor %s remote-as 64500\n neighbor %[1]s ttl-security hops 1\n neighbor %[1]s bfd\n", our4))
		s.write("bfdd.conf", "")
		n.restarts()
		s.start("nsenter", "-t", s.pid, "-n", frrFolder+"bgpd", "-f", "bgpd.conf", "-i", s.dir+"/bgpd.pid", "-z", s.dir+"/zserv", "--vty_socket", s.dir, "-P", "0", "-u", "root", "-g", "root", "--log", "stdout")
		bgp, err := speaker.New(speaker.Options{
			ASN: 64500, RouterID: netip.MustParseAddr(our4),
			Neighbors: []speaker.Neighbor{{Name: "frr", Address: netip.MustParseAddr(their4), ASN: 64496, TTLSecurity: true}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- bgp.Run(ctx) }() // FRR begins BFD when the session stands
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		e, stop := s.watching(every)
		defer stop()
		await(t, "the trap is named", func() bool {
			sessions := e.Sessions()
			return len(sessions) == 2 && strings.Contains(sessions[0].Error, "ttl-security hops 1")
		})
		if out := n.sees(); !strings.Contains(out, "multihop") {
			t.Errorf("FRR says\n%s", out)
		}
	})
}

func TestWithBIRD(t *testing.T) {
	isolated(t, "bird", func(s *scene) {
		for _, every := range neighborIntervals() {
			t.Run(every.String(), func(t *testing.T) {
				in := &scene{t: t, dir: t.TempDir(), pid: s.pid}
				withNeighbor(t, in, in.bird(every), every)
			})
		}
	})
}
