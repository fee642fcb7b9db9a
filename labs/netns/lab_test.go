//go:build linux

package netns_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/netns"
	"github.com/catchment-net/catchment/labs/runner"
)

// scratch is where the binary and the state folders live. Its name is short, because the paths of unix sockets below it
// must be; everybody may read it, because some labs are brought up as another user.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "cns"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	if err := os.Chmod(scratch, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// catchment is the catchment that users run.
var catchment = sync.OnceValues(func() (string, error) {
	file := filepath.Join(scratch, "catchment")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", file, "../../cmd/catchment") // as it is shipped
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build catchment: %w\n%s", err, out)
	}
	return file, nil
})

// nobody is a user without any right.
const nobody = 65534

// lab is a lab that a test has brought up.
type lab struct {
	*runner.Remote
	t    *testing.T
	uid  int
	env  []string
	name string
	dir  string
}

// up brings a lab up as a user, as that user would; args are more of its arguments.
func up(t *testing.T, name string, uid int, args ...string) *lab {
	t.Helper()
	return upChanged(t, name, uid, nil, args...)
}

// upChanged brings a lab up after a change of its folder.
func upChanged(t *testing.T, name string, uid int, change func(dir string) error, args ...string) *lab {
	t.Helper()
	file, err := catchment()
	if err != nil {
		t.Fatal(err)
	}
	if err := netns.Able(file); err != nil {
		t.Skip(err)
	}
	if uid != os.Getuid() && os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	home, err := os.MkdirTemp(scratch, "u") //nolint:usetesting // t.TempDir is too long for unix sockets
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, name)
	if err := catalog.Extract(name, dir); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, uid, uid); err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, uid: uid, name: name, dir: dir, env: append(os.Environ(), "XDG_RUNTIME_DIR="+home, "TMPDIR="+home, "HOME="+home)}
	out, err := l.run(append([]string{"lab", "up", dir, "--runner", "netns", "--name", name}, args...)...)
	if err != nil {
		t.Fatalf("lab up: %v\n%s", err, out)
	}
	t.Cleanup(func() { _, _ = l.run("lab", "down", "--lab", name) })
	if l.Remote, err = runner.Connect(filepath.Join(home, "catchment"), name); err != nil {
		t.Fatal(err)
	}
	return l
}

// run runs a command of catchment as the lab's user.
func (l *lab) run(args ...string) (string, error) {
	file, err := catchment()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(file, args...)
	cmd.Env, cmd.Dir = l.env, scratch
	if l.uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(l.uid), Gid: uint32(l.uid)}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// exec runs a command on a machine of the lab.
func (l *lab) exec(machine string, argv ...string) string {
	l.t.Helper()
	var out bytes.Buffer
	if err := l.Exec(l.t.Context(), machine, argv, &out, &out); err != nil {
		l.t.Errorf("%s: %s: %v\n%s", machine, strings.Join(argv, " "), err, out.String())
	}
	return out.String()
}

func (l *lab) do(verb labs.Verb, subject string) {
	l.t.Helper()
	if err := l.Do(l.t.Context(), labs.Fault{Verb: verb, Subject: subject}); err != nil {
		l.t.Fatal(err)
	}
}

// await polls until ok, and fails the test after limit.
func await(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// links are the host's interfaces.
func links(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return strings.Join(names, " ")
}

// Root and somebody without any right bring up the same lab; nothing of it shows on the host, and nothing stays.
func TestLabForRootAndForAnybody(t *testing.T) {
	for name, uid := range map[string]int{"as we are": os.Getuid(), "as nobody": nobody} {
		t.Run(name, func(t *testing.T) {
			before := links(t)
			l := up(t, "quickstart", uid)
			st, err := l.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			lands := map[string]string{}
			for _, c := range st.Clients {
				for _, pop := range c.Lands {
					lands[c.Name] += pop + " "
				}
			}
			for client, pop := range map[string]string{"berlin": "ams", "lisbon": "ams", "newyork": "nyc", "saopaulo": "ams", "tokyo": "sin", "sydney": "sin"} {
				if lands[client] != pop+" "+pop+" " {
					t.Errorf("%s lands at %q, want %s by both families", client, lands[client], pop)
				}
			}
			if got := links(t); got != before {
				t.Errorf("the host's interfaces were %q and are %q", before, got)
			}
			if got := l.exec("tokyo", "catchment", "version"); !strings.HasPrefix(got, "catchment ") {
				t.Errorf("a command on tokyo says %q", got)
			}
			if got := l.exec("ams1", "catchment", "bgp", "neighbors"); !strings.Contains(got, "established") {
				t.Errorf("ams1's sessions:\n%s", got)
			}
			// Two hops away a kernel forwards by what BGP said.
			if got := l.exec("berlin", "cat", "/proc/net/route"); !strings.Contains(got, "000200C0") {
				t.Errorf("berlin's kernel has no route to 192.0.2.0:\n%s", got)
			}
			if out, err := l.run("lab", "down", "--lab", l.name); err != nil {
				t.Fatalf("lab down: %v\n%s", err, out)
			}
			for _, n := range st.Nodes {
				await(t, 5*time.Second, "the end of "+n.Name, func() bool { return !alive(n.PID) })
			}
		})
	}
}

// alive says whether a process runs or is stopped; one that only waits to be reaped is dead.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(text, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

// A runner that is killed takes every process with it, stopped ones included, and with them the namespaces.
func TestKilledRunnerLeavesNothing(t *testing.T) {
	l := up(t, "anycast3", os.Getuid())
	st, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.do(labs.Freeze, st.Nodes[0].Name)
	host := parent(t, st.Nodes[0].PID)
	if err := syscall.Kill(host, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, 5*time.Second, "the end of the runner", func() bool { return !alive(host) })
	for _, n := range st.Nodes {
		await(t, 5*time.Second, "the end of "+n.Name, func() bool { return !alive(n.PID) })
	}
	// The runner's lock goes with the last of its threads, a moment after its first.
	await(t, 10*time.Second, "lab up over what the killed one left", func() bool {
		out, err := l.run("lab", "up", l.dir, "--runner", "netns", "--name", l.name)
		if err != nil {
			t.Logf("%v: %s", err, out)
		}
		return err == nil
	})
}

func parent(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	ppid, err := strconv.Atoi(strings.Fields(rest)[1])
	if err != nil {
		t.Fatal(err)
	}
	return ppid
}

// A capture holds what crosses its link, and a cut link is missed by both ends at once.
func TestCaptureAndCut(t *testing.T) {
	l := up(t, "anycast3", os.Getuid())
	link := l.Topology().Internet.Links[0]
	ctx, cancel := context.WithCancel(t.Context())
	out := &lockedBuffer{}
	done := make(chan error, 1)
	go func() { done <- l.Capture(ctx, link.Name(), out) }()
	await(t, 10*time.Second, "packets in the capture", func() bool { return out.Len() > 2000 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if b := out.Bytes(); binary.LittleEndian.Uint32(b) != 0xa1b23c4d {
		t.Errorf("the capture begins with % x", b[:24])
	}
	node := l.Topology().POP(link.A).Nodes[0].Name
	routes := func() bool {
		st, err := l.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range st.Routers {
			for _, best := range r.Best {
				if r.Name == link.B && best.Via == node {
					return true
				}
			}
		}
		return false
	}
	if !routes() {
		t.Skipf("%s does not prefer %s in this lab", link.B, node)
	}
	l.do(labs.Cut, link.Name())
	await(t, 2*time.Second, link.B+" leaves "+node, func() bool { return !routes() })
	l.do(labs.Heal, link.Name())
	await(t, 10*time.Second, link.B+" is back at "+node, routes)
}

// lockedBuffer is a buffer that one writes while another looks.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Len()
}

func (l *lockedBuffer) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}
