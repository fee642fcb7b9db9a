package fabric

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
)

// limit is how long a test with real sockets waits for anything.
const limit = 20 * time.Second

// TestMain is also the node's process that TestKilledProcess kills.
func TestMain(m *testing.M) {
	if socket := os.Getenv("FABRIC_TEST_NODE"); socket != "" {
		if err := childNode(socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func childNode(socket string) error {
	lab, err := underlay.NewLab(underlay.LabOptions{Socket: socket, Node: "nyc1"})
	if err != nil {
		return err
	}
	l, err := lab.Listen(context.Background(), "tcp", "203.0.113.17:80")
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "listening")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = c.Write([]byte("hi"))
			_, _ = io.Copy(io.Discard, c)
		}()
	}
}

// withNodes runs a fabric that nodes can attach to; the links have a hundredth of their delay.
func withNodes(t *testing.T) (*Fabric, string) {
	t.Helper()
	m := newModel()
	for _, l := range m.topo.Internet.Links {
		l.Delay /= 100
	}
	dir, err := os.MkdirTemp("", "fabric") //nolint:usetesting // t.TempDir is too long for a unix socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	return m.fabric(t, Options{Socket: socket}), socket
}

func lab(t *testing.T, socket, node string) *underlay.Lab {
	t.Helper()
	l, err := underlay.NewLab(underlay.LabOptions{Socket: socket, Node: node})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func labListen(t *testing.T, n underlay.Net, address string) net.Listener {
	t.Helper()
	l, err := n.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func connect(t *testing.T, n underlay.Net, network, address string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := n.DialContext(ctx, network, address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(limit))
	t.Cleanup(func() { c.Close() })
	return c
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func TestNodeSpeaksInTheTopologysAddresses(t *testing.T) {
	f, socket := withNodes(t)
	ams := lab(t, socket, "ams1")
	serve(labListen(t, ams, anyWeb+":80"), func(c net.Conn) {
		fmt.Fprintf(c, "%v at %v", c.RemoteAddr(), c.LocalAddr())
		c.Close()
	})
	c := connect(t, at(f, "berlin"), "tcp", anyWeb+":80")
	got, err := io.ReadAll(c)
	want := fmt.Sprintf("%v at %s:80", c.LocalAddr(), anyWeb)
	if err != nil || string(got) != want || !strings.HasPrefix(want, "198.51.100.1:") {
		t.Errorf("client: got %q, %v; want %q", got, err, want)
	}
	// From node to node, and from node to an origin by its name.
	nyc := lab(t, socket, "nyc1")
	serve(labListen(t, ams, "203.0.113.1:7950"), echo)
	serve(listen(t, at(f, "origin.shop.example"), "[2001:db8:e1::1]:80"), echo)
	for target, source := range map[string]string{"203.0.113.1:7950": "203.0.113.17", "origin.shop.example:80": "2001:db8:a2::1"} {
		c := connect(t, nyc, "tcp", target)
		if got := c.LocalAddr().(*net.TCPAddr).IP.String(); got != source {
			t.Errorf("%s: source %v, want %v", target, got, source)
		}
		body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // a megabyte
		go func() {
			_, _ = c.Write(body)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d of %d bytes came back, %v", target, len(got), len(body), err)
		}
	}
}

func TestNodeGetsTheHostsErrors(t *testing.T) {
	f, socket := withNodes(t)
	ams := lab(t, socket, "ams1")
	if err := f.Blackhole("nyc -> arc"); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, to string
		want     error
	}{
		{"nobody listens", "203.0.113.129:81", syscall.ECONNREFUSED},
		{"its own address, nobody listens", "203.0.113.1:81", syscall.ECONNREFUSED},
		{"no route", "8.8.8.8:80", syscall.EHOSTUNREACH},
		{"swallowed", "203.0.113.17:80", os.ErrDeadlineExceeded},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := ams.DialContext(ctx, "tcp", row.to)
		cancel()
		if !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
	var dns *net.DNSError
	if _, err := ams.DialContext(t.Context(), "tcp", "nowhere.example:80"); !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("no such name: got %v", err)
	}
	labListen(t, ams, anyWeb+":80")
	labListen(t, lab(t, socket, "nyc1"), anyWeb+":80") // anycast: not the same place
	other := lab(t, socket, "ams1")                    // another process of the node
	for _, row := range []struct {
		name, address string
		want          error
	}{
		{"the same process", anyWeb + ":80", syscall.EADDRINUSE},
		{"another node's address", "203.0.113.2:80", syscall.EADDRNOTAVAIL},
	} {
		if _, err := ams.Listen(t.Context(), "tcp", row.address); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
	if _, err := other.Listen(t.Context(), "tcp", anyWeb+":80"); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("another process: got %v", err)
	}
	for _, bad := range []string{"0.0.0.0:80", ":80", "203.0.113.1:x", "ams1:80"} {
		if l, err := ams.Listen(t.Context(), "tcp", bad); err == nil {
			l.Close()
			t.Errorf("listened on %q", bad)
		}
	}
	if _, err := underlay.NewLab(underlay.LabOptions{Socket: socket, Node: "paris1"}); err == nil || !strings.Contains(err.Error(), `no node "paris1"`) {
		t.Errorf("unknown node: got %v", err)
	}
	if _, err := underlay.NewLab(underlay.LabOptions{Socket: socket + "x", Node: "ams1"}); err == nil {
		t.Error("attached to a runner that is not there")
	}
}

func TestListenerGoneRefusesAndAddressIsFree(t *testing.T) {
	f, socket := withNodes(t)
	ams := lab(t, socket, "ams1")
	for range 3 {
		l := labListen(t, ams, "203.0.113.1:80")
		serve(l, echo)
		connect(t, at(f, "berlin"), "tcp", "203.0.113.1:80").Close()
		l.Close()
		eventually(t, "refused", func() bool {
			_, err := at(f, "berlin").DialContext(t.Context(), "tcp", "203.0.113.1:80")
			return errors.Is(err, syscall.ECONNREFUSED)
		})
	}
}

func TestAbortTravelsBothWays(t *testing.T) {
	f, socket := withNodes(t)
	ams := lab(t, socket, "ams1")
	ends := make(chan error, 1)
	serve(labListen(t, ams, "203.0.113.1:80"), func(c net.Conn) {
		b := make([]byte, 1)
		_, _ = c.Read(b)
		if b[0] == 'a' { // the node aborts
			_ = c.(interface{ SetLinger(int) error }).SetLinger(0)
			c.Close()
			return
		}
		_, err := io.ReadAll(c)
		ends <- err
		c.Close()
	})
	c := connect(t, at(f, "berlin"), "tcp", "203.0.113.1:80")
	_, _ = c.Write([]byte("a"))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the node aborted: the client got %v", err)
	}
	for name, n := range map[string]underlay.Net{"client": at(f, "berlin"), "node": lab(t, socket, "nyc1"), "own process": ams} {
		c := connect(t, n, "tcp", "203.0.113.1:80")
		_, _ = c.Write([]byte("bb"))
		_ = c.(interface{ SetLinger(int) error }).SetLinger(0)
		c.Close()
		if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the %s aborted: the node got %v", name, err)
		}
	}
}

func TestOwnProcessIsReachedWithoutTheRunner(t *testing.T) {
	m := newModel()
	dir, err := os.MkdirTemp("", "fabric") //nolint:usetesting // as above
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	routers := map[string]Router{}
	for name, r := range m.routers {
		routers[name] = r
	}
	f, err := New(Options{Topology: m.topo, Routers: routers, Socket: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	<-f.Ready()
	ams := lab(t, filepath.Join(dir, "s"), "ams1")
	serve(labListen(t, ams, anyWeb+":80"), echo)
	pc, err := ams.ListenPacket(ctx, "udp", "192.0.2.53:53")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	cancel() // the runner is gone, or starved
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	c := connect(t, ams, "tcp", anyWeb+":80")
	_, _ = c.Write([]byte("ping"))
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "ping" {
		t.Errorf("stream: got %q, %v", b, err)
	}
	u := connect(t, ams, "udp", "192.0.2.53:53")
	_, _ = u.Write([]byte("ping"))
	b := make([]byte, 16)
	_ = pc.SetDeadline(time.Now().Add(limit))
	n, from, err := pc.ReadFrom(b)
	if err != nil || string(b[:n]) != "ping" || from.String() != u.LocalAddr().String() || !strings.HasPrefix(from.String(), "203.0.113.1:") {
		t.Fatalf("datagram: got %q from %v, %v", b[:n], from, err)
	}
	_, _ = pc.WriteTo([]byte("pong"), from)
	if n, err := u.Read(b); err != nil || string(b[:n]) != "pong" {
		t.Errorf("answer: got %q, %v", b[:n], err)
	}
}

func TestDatagramsOfNodes(t *testing.T) {
	f, socket := withNodes(t)
	ams, nyc := lab(t, socket, "ams1"), lab(t, socket, "nyc1")
	pc, err := ams.ListenPacket(t.Context(), "udp", "203.0.113.1:53")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	big := bytes.Repeat([]byte("x"), 4000)
	for name, n := range map[string]underlay.Net{"client": at(f, "berlin"), "node": nyc} {
		c := connect(t, n, "udp", "203.0.113.1:53")
		for _, want := range [][]byte{[]byte("small"), big} {
			_, _ = c.Write(want)
			b := make([]byte, 1<<16)
			if k, err := c.Read(b); err != nil || !bytes.Equal(b[:k], want) {
				t.Errorf("%s: got %d bytes, %v; want %d", name, k, err, len(want))
			}
		}
		none := connect(t, n, "udp", "203.0.113.1:54")
		_, _ = none.Write([]byte("x"))
		if _, err := none.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s, nobody listens: got %v", name, err)
		}
	}
	// Unconnected, between two nodes: gossip.
	g, err := nyc.ListenPacket(t.Context(), "udp", "203.0.113.17:7947")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_ = g.SetDeadline(time.Now().Add(limit))
	_, _ = g.WriteTo([]byte("gossip"), net.UDPAddrFromAddrPort(mustAddrPort("203.0.113.1:53")))
	b := make([]byte, 16)
	if n, from, err := g.ReadFrom(b); err != nil || string(b[:n]) != "gossip" || from.String() != "203.0.113.1:53" {
		t.Errorf("unconnected: got %q from %v, %v", b[:n], from, err)
	}
	// What does not come from the runner is no datagram.
	pc.Close()
	if _, err := ams.ListenPacket(t.Context(), "udp", "203.0.113.1:53"); err != nil {
		t.Errorf("the address is not free again: %v", err)
	}
}

func TestManyFlowsAtOnce(t *testing.T) {
	f, socket := withNodes(t)
	ams, nyc := lab(t, socket, "ams1"), lab(t, socket, "nyc1")
	serve(labListen(t, ams, "203.0.113.1:80"), echo)
	serve(listen(t, at(f, "origin.shop.example"), "203.0.113.129:80"), echo)
	sources := []struct {
		n  underlay.Net
		to string
	}{{at(f, "berlin"), "203.0.113.1:80"}, {nyc, "203.0.113.1:80"}, {ams, "203.0.113.129:80"}, {at(f, "tokyo"), "203.0.113.129:80"}}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			s := sources[i%len(sources)]
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c, err := s.n.DialContext(ctx, "tcp", s.to)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(limit))
			body := bytes.Repeat([]byte{byte(i)}, 1000+i*100)
			_, _ = c.Write(body)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, body) {
				t.Errorf("flow %d: %d of %d bytes, %v", i, len(got), len(body), err)
			}
		})
	}
	wg.Wait()
	eventually(t, "no flow is left", func() bool { return flows(f) == 0 })
}

func TestSlowPeerKeepsNobodyFromBeingAccepted(t *testing.T) {
	f, socket := withNodes(t)
	ams := lab(t, socket, "ams1")
	serve(labListen(t, ams, "203.0.113.1:80"), echo)
	s := f.lookup(f.graph.places["ams1"], "tcp", mustAddrPort("203.0.113.1:80"))
	for range 5 {
		c, err := net.Dial("unix", s.at) // says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	liar, err := net.Dial("unix", s.at) // does not know the token
	if err != nil {
		t.Fatal(err)
	}
	defer liar.Close()
	_, _ = liar.Write(bytes.Repeat([]byte{6}, 64))
	_ = liar.SetDeadline(time.Now().Add(limit))
	if _, err := liar.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger was let in: %v", err)
	}
	c := connect(t, at(f, "berlin"), "tcp", "203.0.113.1:80")
	_, _ = c.Write([]byte("x"))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestKilledProcess(t *testing.T) {
	f, socket := withNodes(t)
	for round := range 2 { // the second time right after the first: its address must be free
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), "FABRIC_TEST_NODE="+socket)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 16)
		if n, err := out.Read(b); err != nil || string(b[:n]) != "listening\n" {
			t.Fatalf("round %d: the node said %q, %v", round, b[:n], err)
		}
		c := connect(t, at(f, "berlin"), "tcp", "203.0.113.17:80")
		if n, err := io.ReadFull(c, b[:2]); err != nil || string(b[:n]) != "hi" {
			t.Fatalf("got %q, %v", b[:n], err)
		}
		// Stopped, it still completes handshakes, and answers nothing.
		_ = cmd.Process.Signal(syscall.SIGSTOP)
		var stopped syscall.WaitStatus
		if _, err := syscall.Wait4(cmd.Process.Pid, &stopped, syscall.WUNTRACED, nil); err != nil || !stopped.Stopped() {
			t.Fatalf("waiting for it to stop: %v, %v", stopped, err)
		}
		frozen := connect(t, at(f, "berlin"), "tcp", "203.0.113.17:80")
		_ = frozen.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := frozen.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a frozen node: got %v, want a timeout", err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if _, err := c.Read(b); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a killed node: got %v, want a reset", err)
		}
		eventually(t, "refused", func() bool {
			_, err := at(f, "berlin").DialContext(t.Context(), "tcp", "203.0.113.17:80")
			return errors.Is(err, syscall.ECONNREFUSED)
		})
	}
}

func TestNothingIsLeftAfterRun(t *testing.T) {
	before, fds := runtime.NumGoroutine(), descriptors(t)
	t.Run("lab", func(t *testing.T) {
		f, socket := withNodes(t)
		ams := lab(t, socket, "ams1")
		serve(labListen(t, ams, "203.0.113.1:80"), echo)
		pc, err := ams.ListenPacket(t.Context(), "udp", "203.0.113.1:53")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pc.Close() })
		for range 20 {
			connect(t, at(f, "berlin"), "tcp", "203.0.113.1:80")
			connect(t, lab(t, socket, "nyc1"), "tcp", "203.0.113.1:80")
			connect(t, ams, "udp", "203.0.113.1:53")
		}
	})
	eventually(t, "all goroutines ended", func() bool { return runtime.NumGoroutine() <= before })
	eventually(t, "all descriptors closed", func() bool { return descriptors(t) <= fds })
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	return len(list)
}
