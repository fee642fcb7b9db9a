package speaker

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bird is BIRD as a neighbour, without rights, on a loopback address.
type bird struct {
	dir  string
	cmd  *exec.Cmd
	addr netip.AddrPort
}

const birdConfig = `router id 198.18.0.1;
log "%[1]s/log" all;
protocol device {}
protocol bgp pop {
	local %[2]s port %[3]d as 64496;
	neighbor %[4]s port %[5]d as 64500;
	multihop;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	ipv4 { import all; export none; };
	ipv6 { import all; export none; next hop address 2001:db8:b1::1; };
}
`

// newBird writes the configuration of a BIRD at addr for a neighbour at peer. Tests skip where BIRD is not installed.
func newBird(t *testing.T, addr netip.Addr, peer netip.AddrPort) *bird {
	t.Helper()
	if _, err := exec.LookPath("bird"); err != nil {
		t.Skip("BIRD is not installed")
	}
	b := &bird{dir: t.TempDir(), addr: freePort(t, addr)}
	text := fmt.Sprintf(birdConfig, b.dir, addr, b.addr.Port(), peer.Addr(), peer.Port())
	if err := os.WriteFile(filepath.Join(b.dir, "bird.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bird) start(t *testing.T) {
	t.Helper()
	b.cmd = exec.Command("bird", "-f", "-c", filepath.Join(b.dir, "bird.conf"), "-s", b.socket(), "-P", filepath.Join(b.dir, "pid"))
	var said bytes.Buffer
	b.cmd.Stderr = &said
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.kill)
	await(t, "BIRD answers", func() bool { return strings.Contains(b.ask("show status"), "up and running") })
}

func (b *bird) kill() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	b.cmd = nil
}

func (b *bird) socket() string { return filepath.Join(b.dir, "ctl") }

func (b *bird) ask(what ...string) string {
	out, _ := exec.Command("birdc", slices.Concat([]string{"-s", b.socket()}, strings.Fields(strings.Join(what, " ")))...).CombinedOutput()
	return string(out)
}

func TestBIRDAsNeighbor(t *testing.T) {
	us, them := netip.MustParseAddr("127.66.2.2"), netip.MustParseAddr("127.66.2.1")
	// Our port must be known before BIRD's is, and the other way round.
	ours := freePort(t, us)
	b := newBird(t, them, ours)
	pop, _ := listen(t, Options{ASN: 64500, RouterID: netip.MustParseAddr("203.0.113.1"), Listen: []netip.AddrPort{ours}, Neighbors: []Neighbor{
		{Name: "bird", Address: them, Port: b.addr.Port(), ASN: 64496, Local: us, Multihop: 64},
	}})
	four := Route{
		Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: netip.MustParseAddr("203.0.113.1"),
		LargeCommunities: [][3]uint32{{64500, 1, 3}},
	}
	six := Route{Prefix: netip.MustParsePrefix("2001:db8:53::/48"), NextHop: netip.MustParseAddr("2001:db8:a1::1")}
	if err := pop.Set([]Route{four, six}); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	run(t, pop)
	sees := func(want ...string) func() bool {
		return func() bool {
			table := b.ask("show route all")
			for _, w := range want {
				if strings.HasPrefix(w, "!") == strings.Contains(table, strings.TrimPrefix(w, "!")) {
					return false
				}
			}
			return true
		}
	}
	t.Logf("announced after %v", await(t, "both families at BIRD", sees(
		"192.0.2.0/24", "BGP.next_hop: 203.0.113.1", "2001:db8:53::/48", "BGP.next_hop: 2001:db8:a1::1", "(64500, 1, 3)",
	)))

	shed := four
	shed.Communities = []uint32{GracefulShutdown}
	if err := pop.Set([]Route{shed, six}); err != nil {
		t.Fatal(err)
	}
	await(t, "GSHUT at BIRD", sees("(65535,0)"))
	if err := pop.Set(nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("withdrawn after %v", await(t, "withdrawal at BIRD", sees("!192.0.2.0/24", "!2001:db8:53::/48")))
	if err := pop.Set([]Route{four, six}); err != nil {
		t.Fatal(err)
	}
	await(t, "both families again", sees("192.0.2.0/24", "2001:db8:53::/48"))

	b.ask("disable pop")
	await(t, "session down", func() bool { return pop.established() == 0 })
	b.ask("enable pop")
	took := await(t, "session back after enable", sees("192.0.2.0/24", "2001:db8:53::/48"))
	t.Logf("session back after %v (enable)", took)

	b.kill()
	await(t, "session down", func() bool { return pop.established() == 0 })
	b.start(t)
	began := time.Now()
	await(t, "session back after a restart", sees("192.0.2.0/24", "2001:db8:53::/48"))
	t.Logf("session back after %v (restart)", time.Since(began))

	ctx := t.Context()
	if err := pop.Shutdown(ctx, "new kernel"); err != nil {
		t.Fatal(err)
	}
	await(t, "the reason at BIRD", func() bool {
		log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
		return strings.Contains(string(log), "Administrative shutdown") && strings.Contains(string(log), "new kernel")
	})
}

// BIRD hears nothing while nothing changes, however often the same is set.
func TestSteadyWithBIRD(t *testing.T) {
	us, them := netip.MustParseAddr("127.66.3.2"), netip.MustParseAddr("127.66.3.1")
	ours := freePort(t, us)
	b := newBird(t, them, ours)
	pop, _ := listen(t, Options{ASN: 64500, RouterID: netip.MustParseAddr("203.0.113.1"), Listen: []netip.AddrPort{ours}, Neighbors: []Neighbor{
		{Name: "bird", Address: them, Port: b.addr.Port(), ASN: 64496, Local: us, Multihop: 64},
	}})
	routes := manyRoutes(10, true, true)
	if err := pop.Set(routes); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	run(t, pop)
	await(t, "all routes at BIRD", func() bool { return b.updates() == len(routes) })
	for began := time.Now(); time.Since(began) < steadyFor; time.Sleep(10 * time.Millisecond) {
		if err := pop.Set(routes); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.updates(); got != len(routes) {
		t.Errorf("BIRD received %d updates, want the first %d and none in %v", got, len(routes), steadyFor)
	}
	if got := pop.Neighbors()[0].Downs; got != 0 {
		t.Errorf("the session ended %d times", got)
	}
}

// updates counts the routes that BIRD was ever sent, and those withdrawn.
func (b *bird) updates() int {
	n := 0
	for line := range strings.SplitSeq(b.ask("show protocols all pop"), "\n") {
		words := strings.Fields(line) // Import updates: received rejected filtered ignored accepted
		if len(words) > 2 && words[0] == "Import" && (words[1] == "updates:" || words[1] == "withdraws:") {
			received, _ := strconv.Atoi(words[2])
			n += received
		}
	}
	return n
}

// freePort returns a port of addr that was free a moment ago.
func freePort(t *testing.T, addr netip.Addr) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}
