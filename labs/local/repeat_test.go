//go:build lab

package local

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/drill"
)

// The drills that a person tries first must pass every time: each round has a lab of its own.
func TestShippedDrillsPassEveryTime(t *testing.T) {
	for _, tt := range []struct {
		drill  string
		rounds int
	}{
		{"kill-best-pop", 20},
		{"freeze-best-pop", 5},
		{"drain-best-pop", 5},
	} {
		t.Run(tt.drill, func(t *testing.T) {
			results := make(chan *drill.Report, tt.rounds)
			t.Run("round", func(t *testing.T) {
				for i := range tt.rounds {
					t.Run(fmt.Sprint(i+1), func(t *testing.T) {
						t.Parallel()
						o := quickstart(t)
						l := upOutside(t, o)
						r := runDrill(t, l, o.Dir, tt.drill) // every round counts, on however busy a machine
						if err := l.end(); err != nil {
							t.Errorf("the runner ended with %v", err)
						}
						for _, f := range failed(r) {
							t.Error(f)
						}
						results <- r
					})
				}
			})
			close(results)
			var passed int
			var withdrawals, outages []time.Duration
			for r := range results {
				if r.Pass {
					passed++
				}
				withdrawals = append(withdrawals, slowestWithdrawal(r))
				outages = append(outages, longestOutage(r))
			}
			slices.Sort(withdrawals)
			slices.Sort(outages)
			t.Logf("%d of %d passed; last router's withdrawal %v to %v; longest outage of any client %v to %v",
				passed, tt.rounds, withdrawals[0], withdrawals[len(withdrawals)-1], outages[0], outages[len(outages)-1])
		})
	}
}

// Every drill of every shipped lab passes, each in a lab of its own.
func TestAllShippedDrillsPass(t *testing.T) {
	for _, lab := range catalog.List() {
		for _, name := range drillsOf(t, filepath.Join("../catalog", lab)) {
			t.Run(lab+"/"+name, func(t *testing.T) {
				t.Parallel()
				o := shipped(t, lab)
				file := filepath.Join(o.Dir, "drills", name+".yaml")
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				snap, err := control.Load(o.Dir)
				if err != nil {
					t.Fatal(err)
				}
				d, err := drill.Parse(file, text, snap.Topology)
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Check(caps()); err != nil {
					t.Skip(err)
				}
				o.Split = breaksProcess(d)
				tryDrill(t, o, name, failed)
			})
		}
	}
}

// breaksProcess says whether a drill wants a lab whose nodes run each daemon as a process.
func breaksProcess(d *drill.Drill) bool {
	for _, s := range d.Steps {
		if strings.Contains(s.Fault.Subject, "/") {
			return true
		}
	}
	return false
}

func slowestWithdrawal(r *drill.Report) (slowest time.Duration) {
	for _, router := range r.Routers {
		for _, w := range router.Withdrawals {
			for _, took := range w.Family {
				slowest = max(slowest, time.Duration(took))
			}
		}
	}
	return slowest
}

func longestOutage(r *drill.Report) (longest time.Duration) {
	for _, c := range r.Clients {
		for _, l := range c.Loads {
			longest = max(longest, time.Duration(l.Longest))
		}
	}
	return longest
}
