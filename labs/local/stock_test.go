package local

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// stock is what a process holds that a lab might leave behind.
type stock struct {
	descriptors []string
	goroutines  map[string]int // by the function that they began in
	children    []string
}

// gobgpServe is the one goroutine a router that gobgp never ends: BgpServer.Serve has no way out.
const gobgpServe = "github.com/osrg/gobgp/v3/pkg/server.(*BgpServer).Serve"

func takeStock(t *testing.T) stock {
	t.Helper()
	s := stock{goroutines: map[string]int{}}
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil {
			s.descriptors = append(s.descriptors, to)
		}
	}
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lists {
		if text, err := os.ReadFile(l); err == nil {
			s.children = append(s.children, strings.Fields(string(text))...)
		}
	}
	buf := make([]byte, 16<<20)
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		s.goroutines[entry(g)]++
	}
	return s
}

// entry names the function that a goroutine's stack began in.
func entry(stack string) string {
	lines := strings.Split(strings.TrimSpace(stack), "\n")
	first := ""
	for i := 1; i+1 < len(lines); i += 2 {
		if strings.HasPrefix(lines[i], "created by ") {
			break
		}
		first, _, _ = strings.Cut(lines[i], "({")
		if at := strings.LastIndex(first, "("); at > 0 && !strings.HasSuffix(first[:at], ".") {
			first = first[:at]
		}
	}
	return first
}

// compare awaits that no more is held than before, but for the routers' goroutines in gobgp.
func (s stock) compare(t *testing.T, routers int) {
	t.Helper()
	await(t, 5*time.Second, "nothing is left", func() (bool, string) {
		more := s.grown(takeStock(t), routers)
		return len(more) == 0, strings.Join(more, "; ")
	})
}

// grown says what there is more of now.
func (s stock) grown(now stock, routers int) (more []string) {
	if len(now.descriptors) > len(s.descriptors) {
		more = append(more, fmt.Sprintf("descriptors %v, before %v", now.descriptors, s.descriptors))
	}
	if len(now.children) > len(s.children) {
		more = append(more, fmt.Sprintf("child processes %v", now.children))
	}
	for name, n := range now.goroutines {
		switch grown := n - s.goroutines[name]; {
		case name == gobgpServe && grown > routers:
			more = append(more, fmt.Sprintf("%d goroutines of gobgp for %d routers", grown, routers))
		case name != gobgpServe && grown > 0:
			more = append(more, fmt.Sprintf("%d goroutines in %s", grown, name))
		}
	}
	return more
}

// The stock-taking of the tests above sees what it is there to see.
func TestStockSeesWhatIsLeft(t *testing.T) {
	before := takeStock(t)
	if more := before.grown(takeStock(t), 0); len(more) != 0 {
		t.Errorf("nothing was left, and it says %v", more)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	release := make(chan struct{})
	started := make(chan struct{})
	go leftBehind(started, release)
	<-started // before that it is nobody's goroutine yet
	defer close(release)
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	more := strings.Join(before.grown(takeStock(t), 0), "\n")
	for _, want := range []string{os.DevNull, "1 goroutines in github.com/catchment-net/catchment/labs/local.leftBehind", "child processes [" + fmt.Sprint(child.Process.Pid) + "]"} {
		if !strings.Contains(more, want) {
			t.Errorf("it says %q, want %q in it", more, want)
		}
	}
}

func leftBehind(started, release chan struct{}) {
	close(started)
	<-release
}
