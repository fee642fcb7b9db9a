package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/runner"
)

// runnerEnv makes this test binary a lab's runner instead: gobgp keeps its options in package variables, so two labs at
// once need two processes. Its value is a runnerOrder as JSON.
const runnerEnv = "CATCHMENT_TEST_RUNNER"

// runnerOrder is the part of Options that fits into a variable.
type runnerOrder struct {
	Dir, Name, Root, Binary string
	Env                     []string
	Split                   bool
}

// labsAtOnce is how many labs run side by side, each in processes of its own. A lab takes a tenth of a core, and its
// drills are mostly waiting.
const labsAtOnce = 3

// scratch is where binaries and state folders of this test process live. Its name is short, because the paths of unix
// sockets below it must be.
var scratch string

func TestMain(m *testing.M) {
	if text := os.Getenv(runnerEnv); text != "" {
		os.Exit(runLab(text))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "ctest"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(labsAtOnce)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// runLab is the life of a runner's process: up, served until its stdin ends or somebody asks for the end, down.
func runLab(text string) int {
	var order runnerOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Unsetenv(runnerEnv)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel() // the tests have ended, however that was
	}()
	l, err := Up(ctx, Options{Dir: order.Dir, Name: order.Name, Root: order.Root, Binary: order.Binary, Env: order.Env, Split: order.Split})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	err = errors.Join(l.Serve(ctx, func() { fmt.Fprintln(os.Stdout, "up") }), l.Down(context.WithoutCancel(ctx)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// binary is the catchment that users run.
var binary = sync.OnceValues(func() (string, error) { return build("catchment") })

// faultyBinary can be told to be broken.
var faultyBinary = sync.OnceValues(func() (string, error) { return build("faulty", "-tags", "faults") })

func build(name string, flags ...string) (string, error) {
	file := filepath.Join(scratch, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", file}, flags...), "../../cmd/catchment")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build catchment: %w\n%s", err, out)
	}
	return file, nil
}

func mustBinary(t *testing.T) string {
	t.Helper()
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// quickstart is the options of the reference lab, in folders of its own.
func quickstart(t *testing.T) Options {
	t.Helper()
	return shipped(t, "quickstart")
}

// shipped is the options of a lab that ships, in folders of its own.
func shipped(t *testing.T, lab string) Options {
	t.Helper()
	dir := filepath.Join(t.TempDir(), lab)
	if err := catalog.Extract(lab, dir); err != nil {
		t.Fatal(err)
	}
	return Options{Dir: dir, Name: lab, Root: newRoot(t), Binary: mustBinary(t)}
}

// newRoot is a state root with a short path. Down removes it, so it is not there at the end of a clean test.
func newRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "r") //nolint:usetesting // t.TempDir is too long for unix sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// up brings a lab up in this process. Only one may be up here at a time.
func up(t *testing.T, o Options) *Lab {
	t.Helper()
	l, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	return l
}

// outside is a lab whose runner is a process of its own.
type outside struct {
	*runner.Remote
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer
	once   sync.Once
	err    error
}

// upOutside brings a lab up in a process of its own, which the race detector watches as it watches this one.
func upOutside(t *testing.T, o Options) *outside {
	t.Helper()
	text, err := json.Marshal(runnerOrder{o.Dir, o.Name, o.Root, o.Binary, o.Env, o.Split})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &outside{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), runnerEnv+"="+string(text))
	p.cmd.Stderr = &p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.end(); err != nil {
			t.Errorf("the runner of lab %s: %v\n%s", o.Name, err, p.stderr.String())
		}
	})
	word := make([]byte, 3)
	if _, err := io.ReadFull(stdout, word); err != nil {
		_ = p.end()
		t.Fatalf("lab %s did not come up: %s", o.Name, p.stderr.String())
	}
	if p.Remote, err = runner.Connect(o.Root, o.Name); err != nil {
		t.Fatal(err)
	}
	return p
}

// end ends the runner the polite way and returns how it ended; once.
func (p *outside) end() error {
	p.once.Do(func() {
		p.stdin.Close()
		p.err = p.cmd.Wait()
	})
	return p.err
}

// await polls until ok, and fails the test with what last said after limit.
func await(t *testing.T, limit time.Duration, what string, ok func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		done, last := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %s", what, limit, last)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// pids are the processes of a lab's nodes, by process name.
func pids(t *testing.T, l labs.Lab) map[string]int {
	t.Helper()
	st, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, n := range st.Nodes {
		if n.PID != 0 {
			all[n.Name] = n.PID
		}
	}
	return all
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

func awaitDead(t *testing.T, all map[string]int) {
	t.Helper()
	for name, pid := range all {
		await(t, 5*time.Second, name+" dies", func() (bool, string) { return !alive(pid), "process " + strconv.Itoa(pid) + " lives" })
	}
}
