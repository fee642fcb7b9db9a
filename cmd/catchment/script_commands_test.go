package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs"
)

// limit is how long a scene waits for anything that does not say another time.
const limit = 20 * time.Second

// await looks again and again, for at most that long, and fails the scene with what was seen last.
func await(ts *testscript.TestScript, atMost time.Duration, what string, look func() (done bool, seen string)) {
	end := time.NewTimer(atMost)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, seen := look()
		if done {
			return
		}
		select {
		case <-end.C:
			ts.Fatalf("not within %v: %s; seen last: %s", atMost, what, seen)
		case <-tick.C:
		}
	}
}

// cmdStatus runs a command that must end with that exit status and without a stack trace: status N CMD [ARG …].
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N CMD [ARG …]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, ran := exitStatus(ts.Exec(args[1], args[2:]...))
	if !ran || got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
	if said := ts.ReadFile("stderr"); strings.Contains(said, "goroutine ") || strings.Contains(said, "panic:") {
		ts.Fatalf("a stack trace instead of an error message")
	}
}

// cmdLastLine demands the last line of stderr, word for word: lastline TEXT. A daemon logs before it fails.
func cmdLastLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lastline TEXT")
	}
	lines := strings.Split(strings.TrimSuffix(ts.ReadFile("stderr"), "\n"), "\n")
	if got := lines[len(lines)-1]; got != args[0] {
		ts.Fatalf("last line of stderr:\n got %s\nwant %s", got, args[0])
	}
}

// cmdWaitFor waits until a file is there and holds a text: waitfor FILE [TEXT]; ! waitfor FILE until it is gone.
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 || len(args) > 2 || neg && len(args) > 1 {
		ts.Fatalf("usage: waitfor FILE [TEXT], ! waitfor FILE")
	}
	want := strings.Join(args[1:], "")
	await(ts, limit, fmt.Sprintf("file %s holds %q", args[0], want), func() (bool, string) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if neg {
			return errors.Is(err, fs.ErrNotExist), string(text)
		}
		return err == nil && strings.Contains(string(text), want), string(text)
	})
}

// cmdWithin repeats a command until it ends well and prints what it shall:
//
//	within DURATION CMD [ARG …]             until its exit status is 0
//	within DURATION CMD [ARG …] => REGEXP   and its output matches
//	within DURATION CMD [ARG …] !> REGEXP   and its output does not match
func cmdWithin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: within DURATION CMD [ARG …] [=> REGEXP | !> REGEXP]")
	}
	atMost, err := time.ParseDuration(args[0])
	ts.Check(err)
	cmd, want, match := args[1:], regexp.MustCompile(""), true
	if i := slices.IndexFunc(cmd, func(w string) bool { return w == "=>" || w == "!>" }); i > 0 && len(cmd) == i+2 {
		want, err = regexp.Compile(`(?m)` + cmd[i+1])
		ts.Check(err)
		match, cmd = cmd[i] == "=>", cmd[:i]
	}
	await(ts, atMost, strings.Join(args[1:], " "), func() (bool, string) {
		out, said, err := runQuietly(ts, cmd)
		return err == nil && want.MatchString(out) == match, out + said
	})
}

// runQuietly runs a command as the scene's exec does, but leaves no line in the log for each time.
func runQuietly(ts *testscript.TestScript, args []string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), os.Environ()
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "CATCHMENT_ADMIN"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	return out.String(), said.String(), err
}

// cmdReady waits for a daemon's ready file and puts what it says into variables: ready FILE NAME sets $NAME (its first
// address), $NAME_HOST, $NAME_PORT and $NAME_PID.
func cmdReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ready FILE NAME")
	}
	var ready daemon.ReadyFile
	await(ts, limit, "ready file "+args[0], func() (bool, string) {
		var err error
		ready, err = daemon.ReadReady(ts.MkAbs(args[0]))
		return err == nil, fmt.Sprint(err)
	})
	if ready.Status != "ok" || ready.PID == 0 {
		ts.Fatalf("ready file says %+v", ready)
	}
	ts.Setenv(args[1]+"_PID", strconv.Itoa(ready.PID))
	if len(ready.Addrs) == 0 {
		return
	}
	setAddr(ts, args[1], strings.TrimPrefix(strings.TrimPrefix(ready.Addrs[0], "udp:"), "tcp:"))
}

func setAddr(ts *testscript.TestScript, name, addr string) {
	host, port, err := net.SplitHostPort(addr)
	ts.Check(err)
	ts.Setenv(name, addr)
	ts.Setenv(name+"_HOST", host)
	ts.Setenv(name+"_PORT", port)
}

// cmdFreePort finds a port that nobody listens on: freeport HOST NAME sets $NAME, $NAME_HOST and $NAME_PORT.
func cmdFreePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: freeport HOST NAME")
	}
	// Not one that the kernel gives to others before it is used: those begin at 32768 (ip_local_port_range).
	for range 100 {
		port := strconv.Itoa(10000 + rand.IntN(10000))
		l, err := net.Listen("tcp", ":"+port) // of all addresses
		if err != nil {
			continue
		}
		l.Close()
		setAddr(ts, args[1], net.JoinHostPort(args[0], port))
		return
	}
	ts.Fatalf("no port is free")
}

// cmdOccupy keeps a port for the whole scene: occupy tcp|udp NAME sets $NAME to its address.
func cmdOccupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: occupy tcp|udp NAME")
	}
	if args[0] == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { c.Close() })
		setAddr(ts, args[1], c.LocalAddr().String())
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	setAddr(ts, args[1], l.Addr().String())
}

// cmdServe runs a web server for the scene: serve NAME sets $NAME to its address. /page may be cached for a minute and
// has an ETag, /private may not be shared, /health is bad for as long as the file `sick` exists. Each answer counts the
// requests so far in its body and in X-Count.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve NAME")
	}
	sick := ts.MkAbs("sick")
	var count atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			if _, err := os.Stat(sick); err == nil {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		n := count.Add(1)
		w.Header().Set("X-Count", strconv.FormatInt(n, 10))
		w.Header().Set("Surrogate-Key", "all "+strings.Trim(r.URL.Path, "/"))
		w.Header().Set("Cache-Control", "max-age=60")
		if r.URL.Path == "/private" {
			w.Header().Set("Cache-Control", "private")
		}
		w.Header().Set("ETag", `"v1"`)
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintf(w, "%s answer %d\n", r.URL.Path, n)
	}))
	ts.Defer(srv.Close)
	setAddr(ts, args[0], srv.Listener.Addr().String())
}

// cmdLifeline is a service that holds connections on a unix socket: lifeline PATH opens it, ! lifeline PATH dies.
func cmdLifeline(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: lifeline PATH, ! lifeline PATH")
	}
	path := ts.MkAbs(args[0])
	if neg {
		lifelines.close(path)
		return
	}
	l, err := net.Listen("unix", path)
	ts.Check(err)
	lifelines.add(path, l)
	ts.Defer(func() { lifelines.close(path) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			lifelines.add(path, c)
		}
	}()
}

// held are the scenes' open lifelines, by path: a listener and the connections that it took.
type held struct {
	mu   sync.Mutex // guards open
	open map[string][]io.Closer
}

var lifelines held //nolint:gochecknoglobals // a script's commands share nothing else

func (h *held) add(path string, c io.Closer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		h.open = map[string][]io.Closer{}
	}
	h.open[path] = append(h.open[path], c)
}

func (h *held) close(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.open[path] {
		c.Close()
	}
	delete(h.open, path)
}

// cmdSignal sends a signal to the process that wrote a ready file: signal TERM|KILL FILE.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal TERM|KILL FILE")
	}
	ready, err := daemon.ReadReady(ts.MkAbs(args[1]))
	ts.Check(err)
	ts.Check(syscall.Kill(ready.PID, signals[args[0]]))
}

// cmdReplace edits a file as an editor does, by a rename: replace FILE OLD NEW.
func cmdReplace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	file := ts.MkAbs(args[0])
	text, err := os.ReadFile(file)
	ts.Check(err)
	if !strings.Contains(string(text), args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(file+".new", []byte(strings.ReplaceAll(string(text), args[1], args[2])), 0o600))
	ts.Check(os.Rename(file+".new", file))
}

// cmdExpand puts the scene's variables into a file, where they stand as ${NAME}: expand FILE.
func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

// cmdLabPorts puts where the only lab's clients and nodes are into variables: $BERLIN_HTTP, $BERLIN_DNS (a port),
// $AMS1_ADMIN, …
func cmdLabPorts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: labports")
	}
	ts.Check(ts.Exec("catchment", "lab", "status", "--json"))
	var st labs.Status
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &st))
	for _, c := range st.Clients {
		_, port, err := net.SplitHostPort(c.DNS)
		ts.Check(err)
		ts.Setenv(strings.ToUpper(c.Name)+"_DNS", port)
		ts.Setenv(strings.ToUpper(c.Name)+"_HTTP", c.HTTP)
	}
	for _, n := range st.Nodes {
		ts.Setenv(strings.ToUpper(n.Name)+"_ADMIN", n.Admin)
	}
}

// labProcesses are the processes of the scene's labs by id, with their command lines.
func labProcesses(ts *testscript.TestScript) map[int]string {
	mark := "XDG_RUNTIME_DIR=" + ts.Getenv("XDG_RUNTIME_DIR") + "\x00"
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	ts.Check(err)
	found := map[int]string{}
	for _, file := range environs {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), mark) {
			continue // gone, another user's, or not of this scene
		}
		dir := filepath.Dir(file)
		pid, err := strconv.Atoi(filepath.Base(dir))
		ts.Check(err)
		cmd, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil && len(cmd) > 0 { // one that waits for its parent to notice has none
			found[pid] = strings.ReplaceAll(string(cmd), "\x00", " ")
		}
	}
	return found
}

// cmdKillRunner kills the runner of the scene's only lab with SIGKILL and waits until its nodes have gone by themselves.
func cmdKillRunner(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: killrunner")
	}
	killed := 0
	for pid, cmd := range labProcesses(ts) {
		if strings.Contains(cmd, " lab serve ") {
			ts.Check(syscall.Kill(pid, syscall.SIGKILL))
			killed++
		}
	}
	if killed != 1 {
		ts.Fatalf("%d runners found, want 1", killed)
	}
	await(ts, limit, "the nodes go with their runner", func() (bool, string) {
		all := labProcesses(ts)
		return len(all) == 0, fmt.Sprint(all)
	})
}

// cmdNothingLeft demands that no process of the scene's labs lives and that no file of theirs exists.
func cmdNothingLeft(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: nothingleft")
	}
	await(ts, limit, "no process of the lab's is left", func() (bool, string) { // the runner has removed all else before it ends
		all := labProcesses(ts)
		return len(all) == 0, fmt.Sprint(all)
	})
	for _, dir := range []string{ts.Getenv("XDG_RUNTIME_DIR"), ts.Getenv("TMPDIR")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			ts.Fatalf("%v", err)
		}
		for _, e := range entries {
			ts.Fatalf("left behind: %s", filepath.Join(dir, e.Name()))
		}
	}
}
