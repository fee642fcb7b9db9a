//go:build linux && lab

package bfd

import (
	"flag"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	stableFor = flag.Duration("for", 10*time.Minute, "how long TestStable lasts for each interval")
	intervals = flag.String("intervals", "10ms", "the intervals of TestStable, separated by commas")
	ordinary  = flag.Bool("ordinary", false, "TestStable does not raise the thread's priority")
	spinners  = flag.Int("spinners", 0, "goroutines of our own process that never sleep in TestStable")
	raised    = flag.Bool("raised", false, "FRR's daemons run above ordinary processes in TestStable, too")
	far       = flag.String("far", "frr", "who is at the other end in TestStable: frr or ours")
	burners   = flag.Int("burners", 0, "processes that saturate the cores in TestStable; 0 means one a core")
)

// With every core saturated by others, and our own process busy besides, sessions with FRR stay up: its packets are not
// taken for late because we are, and ours are not late.
//
//	go test -tags lab ./bgpd/bfd -run TestStable -for 10m -intervals 10ms,20ms,50ms -v
func TestStable(t *testing.T) {
	isolated(t, frrFolder+"bfdd", func(s *scene) {
		for word := range strings.SplitSeq(*intervals, ",") {
			every, err := time.ParseDuration(word)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(word, func(t *testing.T) {
				in := &scene{t: t, dir: t.TempDir(), pid: s.pid, raised: *raised}
				if *far == "ours" {
					in.stable(in.ours(every), every)
				} else {
					in.stable(in.frr(every), every)
				}
			})
		}
	})
}

// farVar is set in the process that is the other end.
const farVar = "CATCHMENT_TEST_FAR"

// ours is another process of this test as the neighbour.
func (s *scene) ours(every time.Duration) *neighbor {
	env := []string{farVar + "=" + every.String()}
	p := s.start(slices.Concat([]string{"nsenter", "-t", s.pid, "-n", "env"}, env, []string{os.Args[0], "-test.run=^TestFarEnd$"})...)
	return &neighbor{process: p.Process, sees: func() string { return "" }}
}

// TestFarEnd is the other end of TestStable, until it is killed.
func TestFarEnd(t *testing.T) {
	every, err := time.ParseDuration(os.Getenv(farVar))
	if err != nil {
		t.Skip("it is started by TestStable")
	}
	e, err := New(Options{})
	if err == nil {
		err = e.Set([]Peer{
			{Name: "four", Local: netip.MustParseAddr(their4), Remote: netip.MustParseAddr(our4), Timing: Timing{Interval: every}},
			{Name: "six", Local: netip.MustParseAddr(their6), Remote: netip.MustParseAddr(our6), Timing: Timing{Interval: every}},
		})
	}
	if err == nil {
		err = e.Run(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *scene) stable(n *neighbor, every time.Duration) {
	var mu sync.Mutex
	var fell []Status
	registry := prometheus.NewRegistry()
	downs := map[string]int{}
	e, stop := s.watchingWith(Options{ordinary: *ordinary, Registerer: registry, OnChange: func(v Status) {
		mu.Lock()
		defer mu.Unlock()
		if v.Downs != downs[v.Name] {
			downs[v.Name] = v.Downs
			fell = append(fell, v)
		}
	}}, every)
	defer stop()
	await(s.t, "both up", upAt(e, every))
	count := *burners
	if count == 0 {
		count = runtime.NumCPU()
	}
	for range count {
		s.start("sh", "-c", "while :; do :; done")
	}
	var spinning sync.WaitGroup
	var done atomic.Bool
	for range *spinners {
		spinning.Go(func() {
			for !done.Load() {
				_ = done.Load() // nothing, without a pause
			}
		})
	}
	time.Sleep(*stableFor) // the test's purpose is that nothing happens
	done.Store(true)
	spinning.Wait()
	mu.Lock()
	defer mu.Unlock()
	for _, v := range fell {
		s.t.Errorf("%v: %s went down: %s (downs %d)", every, v.Name, v.Diag, v.Downs)
	}
	all, err := registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range all {
		if h := f.GetMetric()[0].GetHistogram(); h != nil {
			for _, b := range h.GetBucket() {
				s.t.Logf("sent at most %vs late: %d of %d", b.GetUpperBound(), b.GetCumulativeCount(), h.GetSampleCount())
			}
		}
	}
	s.t.Logf("FRR sees:\n%s", n.sees())
}
