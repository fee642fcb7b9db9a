//go:build drills

package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/labs/catalog"
)

// What is run where, besides every lab and drill on every runner that is named.
var (
	binary  = flag.String("binary", "../../bin/catchment", "the catchment to run") //nolint:gochecknoglobals // flags
	runners = flag.String("runners", "local,netns", "the runners, and routers where a runner has a choice: netns:frr")
	only    = flag.String("labs", "", "the labs, if not all")
)

const (
	atOnce   = 3                     // drills side by side, each in a lab of its own: they are mostly waiting
	starved  = 50 * time.Millisecond // a timer that fired so late: what is found then says nothing of the system
	attempts = 3
	within   = 3 * time.Minute // one drill with its lab
)

// statusCannot is the exit status of a command that this host, or the runner, cannot carry out.
const statusCannot = 3

// Every drill of every shipped lab passes on every runner.
func TestEveryDrillOnEveryRunner(t *testing.T) {
	if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs(*binary)
	if err != nil {
		t.Fatal(err)
	}
	for kind := range strings.SplitSeq(*runners, ",") {
		for _, lab := range catalog.List() {
			if *only != "" && !slices.Contains(strings.Split(*only, ","), lab) {
				continue
			}
			for _, drill := range drills(t, lab) {
				t.Run(kind+"/"+lab+"/"+drill, func(t *testing.T) {
					t.Parallel()
					run(t, file, kind, lab+"/"+drill)
				})
			}
		}
	}
}

func drills(t *testing.T, lab string) []string {
	t.Helper()
	tree, err := catalog.Open(lab)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(tree, "drills/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("drills of %s: %v, %v", lab, files, err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".yaml")
	}
	return files
}

// excused are the expectations that a router of others cannot meet, whatever our nodes do, by runner and drill.
func excused(kind, drill string) string {
	if kind == "netns:frr" && drill == "quickstart/kill-best-pop" {
		return "withdrawal(best) < 100ms" // FRR holds each change back for 50 ms before it tells the next router, and here are two
	}
	return ""
}

// run runs one drill. A failure on a starved machine is void, and the drill is run again in a new lab.
func run(t *testing.T, file, kind, drill string) {
	name, router, _ := strings.Cut(kind, ":")
	args := []string{"drill", "run", drill, "--runner", name}
	if router != "" {
		args = append(args, "--router", router)
	}
	for attempt := 1; ; attempt++ {
		dir := t.TempDir()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		out, err := exec.CommandContext(ctx, file, append(args, "--report", dir)...).CombinedOutput()
		cancel()
		var exit *exec.ExitError
		switch {
		case err == nil:
			return
		case errors.As(err, &exit) && exit.ExitCode() == statusCannot:
			t.Skip(lastLine(out))
		}
		found := read(filepath.Join(dir, "report.json"))
		late := time.Duration(found.Lateness.Max * float64(time.Second))
		if late > starved && attempt < attempts {
			t.Logf("attempt %d is void: a timer fired %v late", attempt, late)
			continue
		}
		if failed := found.failed(); len(failed) == 1 && failed[0] == excused(kind, drill) {
			t.Logf("excused: %s", failed[0])
			return
		}
		t.Fatalf("%v, timers at most %v late\n%s", err, late, out)
	}
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// report is what a drill found, as far as it matters here.
type report struct {
	Lateness struct {
		Max float64 `json:"max_s"` // how late timers fired in the drill's process
	} `json:"timer_lateness"`
	Expectations []struct {
		Text string `json:"text"`
		Pass bool   `json:"pass"`
	} `json:"expectations"`
}

// read is empty for a drill that came to no verdict.
func read(file string) (r report) {
	if text, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(text, &r)
	}
	return r
}

func (r report) failed() []string {
	var all []string
	for _, e := range r.Expectations {
		if !e.Pass {
			all = append(all, e.Text)
		}
	}
	return all
}
