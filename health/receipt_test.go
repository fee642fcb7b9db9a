package health_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
)

// talk is a few fleets that pass each other records.
type talk struct {
	t      *testing.T
	now    time.Time
	fleets map[string]*health.Fleet
}

func newTalk(t *testing.T, names ...string) *talk {
	t.Helper()
	k := &talk{t, epoch, map[string]*health.Fleet{}}
	topo := network(1, 1, 1)
	for _, n := range names {
		f := health.NewFleet(topo, n)
		f.SetIncarnation(1)
		for _, s := range health.Services {
			f.SetOwn(epoch, s, health.ServiceView{State: health.Up, Cause: health.Cause{Since: epoch}})
		}
		f.SetClaims(epoch, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
		k.fleets[n] = f
	}
	return k
}

// tell carries from's newest record, as it is on the wire, to the others named.
func (k *talk) tell(from string, to ...string) {
	k.t.Helper()
	wire, err := k.fleets[from].Record(k.now).MarshalBinary()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, name := range to {
		var r health.Record
		if err := r.UnmarshalBinary(wire); err != nil {
			k.t.Fatal(err)
		}
		k.fleets[name].Merge(k.now, r)
	}
}

func (k *talk) knows(who, of string, want bool) {
	k.t.Helper()
	if got := k.fleets[of].View(k.now).Nodes[who].Knows; got != want {
		k.t.Errorf("at %v: %s knows how %s is: %v, want %v", k.now.Sub(epoch), who, of, got, want)
	}
}

func (k *talk) ill(name string) {
	k.now = k.now.Add(time.Millisecond)
	k.fleets[name].SetOwn(k.now, health.Web, health.ServiceView{State: health.Down, Cause: health.Cause{Class: health.Soft, Since: k.now}})
}

func (k *talk) well(name string) {
	k.now = k.now.Add(time.Millisecond)
	k.fleets[name].SetOwn(k.now, health.Web, health.ServiceView{State: health.Up, Cause: health.Cause{Since: k.now}})
}

// A receipt is for the standing that its node has now, not for one that it had before.
func TestReceipts(t *testing.T) {
	k := newTalk(t, "a1", "b1")
	k.tell("a1", "b1")
	k.tell("b1", "a1")
	k.knows("b1", "a1", false)

	k.ill("a1")
	k.knows("b1", "a1", false)
	k.tell("b1", "a1") // b1 has not heard
	k.knows("b1", "a1", false)
	k.tell("a1", "b1")
	if !k.fleets["b1"].Owes() {
		t.Error("b1 is not in a hurry to say that it has heard")
	}
	k.tell("b1", "a1")
	if k.fleets["b1"].Owes() {
		t.Error("b1 has said so and is still in a hurry")
	}
	k.knows("b1", "a1", true)
	k.tell("a1") // further records change nothing, heard or not
	k.knows("b1", "a1", true)

	k.well("a1")
	k.ill("a1") // ill again within one record: nobody has heard otherwise meanwhile
	k.knows("b1", "a1", true)
	k.well("a1")
	k.tell("a1")
	k.ill("a1") // but now b1 may have
	k.knows("b1", "a1", false)
	k.tell("b1", "a1")
	k.knows("b1", "a1", false)
	k.tell("a1", "b1")
	k.tell("b1", "a1")
	k.knows("b1", "a1", true)

	k.fleets["a1"].SetIntent(k.now, health.Intent{Target: "a1", Kind: health.IntentDrain})
	k.knows("b1", "a1", false)
	k.tell("a1", "b1")
	k.tell("b1", "a1")
	k.knows("b1", "a1", true)
}

// The first bad probe asks, so that the answer is there when the last one has made it certain; and who knows of one service
// does not know of another.
func TestReceiptsForASuspicion(t *testing.T) {
	k := newTalk(t, "a1", "b1")
	k.tell("a1", "b1")
	suspect := health.ServiceView{State: health.Up, Suspect: true, Cause: health.Cause{Since: epoch}}
	k.fleets["a1"].SetOwn(k.now, health.Web, suspect)
	k.tell("a1", "b1")
	if !k.fleets["b1"].Owes() || !k.fleets["b1"].View(k.now).Nodes["a1"].Services[health.Web].Suspect {
		t.Error("b1 has not heard of the suspicion")
	}
	if v := k.fleets["b1"].View(k.now).POPs["a"].Services[health.Web]; v.Suspect || v.State != health.Up {
		t.Errorf("a suspicion is no judgement: got %+v", v)
	}
	k.tell("b1", "a1")
	k.knows("b1", "a1", true)
	k.ill("a1")
	k.knows("b1", "a1", true)
	k.tell("a1", "b1")
	if k.fleets["b1"].Owes() {
		t.Error("b1 is asked twice")
	}

	k.fleets["a1"].SetOwn(k.now, health.DNS, suspect)
	k.knows("b1", "a1", false)
	k.tell("a1", "b1")
	k.tell("b1", "a1")
	k.knows("b1", "a1", true)
	k.well("a1")
	k.fleets["a1"].SetOwn(k.now, health.DNS, health.ServiceView{State: health.Up, Cause: health.Cause{Since: k.now}})
	k.tell("a1", "b1")
	if k.fleets["b1"].View(k.now).Nodes["a1"].Services[health.DNS].Suspect {
		t.Error("the suspicion is not lifted")
	}
}

// One who announces nothing can take nobody's clients, so nobody waits for its word.
func TestWhoClaimsNothingIsInNoHurry(t *testing.T) {
	k := newTalk(t, "a1", "b1")
	k.fleets["b1"].SetClaims(k.now, nil)
	k.ill("a1")
	k.tell("a1", "b1")
	if k.fleets["b1"].Owes() {
		t.Error("b1 is in a hurry")
	}
}

// However many are leaving, a record has room for those that matter: who claims still, and whose word is newest.
func TestReceiptsAreBounded(t *testing.T) {
	sizes := make([]int, 21)
	for i := range sizes {
		sizes[i] = 1
	}
	topo := network(sizes...)
	f := health.NewFleet(topo, "a1")
	f.SetIncarnation(1)
	for i, n := range topo.Nodes()[1:] {
		r := health.Record{Node: n.Name, Incarnation: 1, Seq: 1, Services: map[health.Service]health.ServiceView{health.Web: {State: health.Down}}}
		if i < 3 {
			r.Claims = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}
		f.Merge(epoch.Add(time.Duration(i)*time.Second), r)
	}
	var got []string
	for _, x := range f.Record(epoch.Add(time.Minute)).Receipts {
		got = append(got, x.Node)
	}
	if want := "[b1 c1 d1 q1 r1 s1 t1 u1]"; fmt.Sprint(got) != want {
		t.Errorf("got receipts of %v, want %v", got, want)
	}
}
