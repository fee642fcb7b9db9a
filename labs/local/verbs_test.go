package local

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/labs"
)

// visit fetches an uncached page of a host at an address, as a client network's user, and says how long it took.
func visit(t *testing.T, l *Lab, client, address, path string, within time.Duration) (time.Duration, error) {
	t.Helper()
	own, err := l.fabric.Client(client)
	if err != nil {
		t.Fatal(err)
	}
	web := http.Client{Timeout: within, Transport: &http.Transport{DialContext: own.DialContext, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "www.small.example"
	began := time.Now()
	resp, err := web.Do(req)
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode >= 500 {
			err = errors.New(resp.Status)
		}
	}
	return time.Since(began), err
}

// nodeStatus is what these tests read of a node's own status.
type nodeStatus struct {
	Now     time.Time `json:"now"`
	Members []string  `json:"members"`
}

func statusOf(t *testing.T, l *Lab, node string) nodeStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var st nodeStatus
	if err := (admin.Client{Socket: l.nodes.Admin(node)}).Get(ctx, "/v1/status", &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func mustDo(t *testing.T, l *Lab, verb labs.Verb, subject, arg string) {
	t.Helper()
	if err := l.Do(t.Context(), labs.Fault{Verb: verb, Subject: subject, Arg: arg}); err != nil {
		t.Fatal(err)
	}
}

const (
	eastAddr, westAddr = "203.0.113.1:80", "203.0.113.17:80"
	smallOrigin        = "origin.small.example"
	patience           = 10 * time.Second // for what must happen
	silence            = 700 * time.Millisecond
)

// Each verb does what it says to something real, and heal undoes it.
func TestEachVerbHasItsEffectAndHealUndoesIt(t *testing.T) {
	l := up(t, Options{Dir: "testdata/small", Name: "small", Root: newRoot(t), Binary: mustBinary(t)})
	well := func(t *testing.T, address string) {
		t.Helper()
		if took, err := visit(t, l, "town", address, "/cart/x", patience); err != nil {
			t.Errorf("%s after %v: %v", address, took, err)
		}
	}
	ill := func(t *testing.T, address string, within time.Duration) {
		t.Helper()
		if took, err := visit(t, l, "town", address, "/cart/x", within); err == nil {
			t.Errorf("%s answers after %v", address, took)
		}
	}
	t.Run("partition", func(t *testing.T) {
		mustDo(t, l, labs.Partition, "east", "")
		ill(t, eastAddr, silence)
		well(t, westAddr)
		if best := l.bests.Of("transit")["192.0.2.0/24"]; best.POP != "east" {
			t.Errorf("transit's route leads to %q: somebody has told it", best.POP)
		}
		mustDo(t, l, labs.Heal, "east", "")
		well(t, eastAddr)
	})
	t.Run("mute", func(t *testing.T) {
		mustDo(t, l, labs.Mute, "east1", "")
		await(t, 30*time.Second, "west1 misses east1", func() (bool, string) {
			m := statusOf(t, l, "west1").Members
			return !slices.Contains(m, "east1"), strings.Join(m, ", ")
		})
		well(t, eastAddr)
		mustDo(t, l, labs.Heal, "east1", "")
		await(t, 30*time.Second, "west1 has east1 back", func() (bool, string) {
			m := statusOf(t, l, "west1").Members
			return slices.Contains(m, "east1"), strings.Join(m, ", ")
		})
	})
	t.Run("slow link", func(t *testing.T) {
		mustDo(t, l, labs.Slow, "town transit", "150ms")
		if took, err := visit(t, l, "town", eastAddr, "/cart/x", patience); err != nil || took < 600*time.Millisecond {
			t.Errorf("got an answer after %v (%v), want two round trips of 300 ms each", took, err)
		}
		mustDo(t, l, labs.Heal, "town -> transit", "")
		if p := l.fabric.Path("town", netip.MustParseAddr("203.0.113.1")); p.Delay != 2*time.Millisecond {
			t.Errorf("healed, the path takes %v", p.Delay)
		}
	})
	t.Run("lossy link", func(t *testing.T) {
		mustDo(t, l, labs.Lossy, "town -> transit", "100%")
		ill(t, eastAddr, silence)
		mustDo(t, l, labs.Heal, "town -> transit", "")
		well(t, eastAddr)
	})
	t.Run("origin", func(t *testing.T) {
		mustDo(t, l, labs.Kill, smallOrigin, "")
		ill(t, eastAddr, patience)
		mustDo(t, l, labs.Heal, smallOrigin, "")
		well(t, eastAddr)
		mustDo(t, l, labs.Slow, smallOrigin, "300ms")
		if took, err := visit(t, l, "town", eastAddr, "/cart/x", patience); err != nil || took < 300*time.Millisecond {
			t.Errorf("slow: got an answer after %v (%v)", took, err)
		}
		mustDo(t, l, labs.Freeze, smallOrigin, "")
		ill(t, westAddr, silence)
		mustDo(t, l, labs.Heal, smallOrigin, "")
		well(t, westAddr)
	})
	t.Run("skew", func(t *testing.T) {
		off := func() time.Duration { return statusOf(t, l, "east1").Now.Sub(time.Now().Round(0)).Round(time.Minute) }
		for _, step := range []struct {
			by   string
			want time.Duration
		}{{"1h", time.Hour}, {"-3h", -2 * time.Hour}} {
			mustDo(t, l, labs.Skew, "east", step.by)
			if got := off(); got != step.want {
				t.Errorf("after a step of %s the clock is off by %v, want %v", step.by, got, step.want)
			}
		}
		well(t, eastAddr)
		mustDo(t, l, labs.Heal, "east", "")
		if got := off(); got != 0 {
			t.Errorf("healed, the clock is off by %v", got)
		}
	})
	t.Run("fill", func(t *testing.T) {
		log := filepath.Join(l.state.Node("east1"), "log")
		grows := func(verb labs.Verb) bool {
			before, err := os.Stat(log)
			if err != nil {
				t.Fatal(err)
			}
			mustDo(t, l, verb, "east1", "")
			for range 100 {
				after, err := os.Stat(log)
				if err != nil {
					t.Fatal(err)
				}
				if after.Size() > before.Size() {
					return true
				}
				time.Sleep(10 * time.Millisecond) // a second in all
			}
			return false
		}
		mustDo(t, l, labs.Fill, "east1", "")
		if grows(labs.Drain) {
			t.Error("the node still writes its log")
		}
		well(t, eastAddr)
		mustDo(t, l, labs.Heal, "east1", "")
		if !grows(labs.Drain) {
			t.Error("healed, the node writes no log")
		}
		mustDo(t, l, labs.Heal, "east1", "")
	})
	t.Run("refused", func(t *testing.T) {
		for _, f := range []labs.Fault{
			{Verb: labs.Partition, Subject: "town"},
			{Verb: labs.Mute, Subject: "east1/popd"},
			{Verb: labs.Slow, Subject: "east -> transit", Arg: "20%"},
			{Verb: labs.Lossy, Subject: "east -> transit", Arg: "2"},
			{Verb: labs.Lossy, Subject: "east -> transit", Arg: "200%"},
			{Verb: labs.Skew, Subject: "east", Arg: "soon"},
			{Verb: labs.Skew, Subject: "town", Arg: "1h"},
			{Verb: labs.Fill, Subject: "transit"},
			{Verb: labs.Drain, Subject: smallOrigin},
		} {
			if err := l.Do(t.Context(), f); err == nil {
				t.Errorf("%s is carried out", f)
			}
		}
	})
}
