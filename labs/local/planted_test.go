package local

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/labs/drill"
)

// caught is how a drill that ships catches a defect: one of its expectations fails and names the cause.
type caught struct {
	fault, drill string
	quick        bool     // also in an ordinary run of the tests
	split        bool     // the drill breaks one daemon of a node
	says         []string // regular expressions, each of which one failed expectation matches: what it says, as verdict writes it
	keeps        []string // expectations that hold all the same: the drill tells this defect from others
}

// catches is also the table in docs/drills.md.
func catches() []caught {
	return []caught{
		{
			fault: fault.NeverWithdraws, drill: "drain-best-pop",
			says: []string{
				`^3s\.\.15s: withdrawal\(best\) < 5s: found forever\n  cause   never withdraws\n(?s:.*)arc's best path for 192\.0\.2\.0/24 still led to ams`,
				`arc's best path for 2001:db8:53::/48 still led to ams`,
			},
			keeps: []string{"wrong_bodies == 0", "dns(berlin, www) == nyc"},
		},
		{
			fault: fault.WithdrawsIPv4Only, drill: "drain-best-pop",
			says:  []string{`^3s\.\.15s: withdrawal\(best\) < 5s: found forever\n  cause   withdraws one address family only\n.*arc's best path for 2001:db8:53::/48 still led to ams`},
			keeps: []string{"wrong_bodies == 0", "dns(berlin, www) == nyc"},
		},
		{
			fault: fault.WithdrawsTooLate, drill: "kill-web-server", split: true,
			says:  []string{`^2s\.\.7s: withdrawal\(ams\) < 500ms: found 2\.\d+s\n  cause   withdraws too late\n.*the last was \w+'s best path for`},
			keeps: []string{"wrong_bodies == 0", "empty_answers == 0", "attracts(ams, down) < 3s", "dns(berlin, www) == nyc", "routes(arc, anycast) > 0"},
		},
		{
			fault: fault.AnnouncesWhileDown, drill: "kill-web-server", quick: true, split: true,
			says:  []string{`^2s\.\.7s: attracts\(ams, down\) < 3s: found \d.*\n  cause   announces while down\n.*best path for .* led to ams from .* which was held to be down`},
			keeps: []string{"wrong_bodies == 0", "empty_answers == 0", "dns(berlin, www) == nyc", "routes(arc, anycast) > 0"},
		},
		{
			fault: fault.Flaps, drill: "steady-state",
			says:  []string{`^always: flaps\(ams\) == 0: found \d+\n  cause   flaps\n.*(returned to ams for|ams1 announced anew) `, `^always: updates\(\*\) == 0: found \d+\n  cause   routes are not steady`},
			keeps: []string{"wrong_bodies == 0", "empty_answers == 0", "flaps(sin) == 0", "through(ams, paged) > 90%"},
		},
		{
			fault: fault.DrainDrops, drill: "drain-best-pop",
			says:  []string{`^always: lost == 0: found \d+\n  cause   the drain drops requests\n(?s:.*) berlin/www, .*: status 503`},
			keeps: []string{"wrong_bodies == 0", "empty_answers == 0", "withdrawal(best) < 5s", "dns(berlin, www) == nyc"},
		},
		{
			fault: fault.DNSKeepsDeadPOP, drill: "kill-best-pop",
			says:  []string{`^9s\.\.13s: dns\(berlin, www\) == nyc: found ams\n  cause   DNS keeps the dead POP\n.*berlin/www went by an answer for ams`},
			keeps: []string{"wrong_bodies == 0", "withdrawal(best) < 100ms", "outage(*, img) < 1s"},
		},
		{
			fault: fault.AnswersEmpty, drill: "kill-web-server", quick: true, split: true,
			says:  []string{`^always: empty_answers == 0: found \d+\n  cause   empty DNS answer\n.*/www`},
			keeps: []string{"wrong_bodies == 0", "withdrawal(ams) < 500ms", "attracts(ams, down) < 3s", "outage(*, img) < 1s", "routes(arc, anycast) > 0"},
		},
		{
			fault: fault.SharesPrivate, drill: "private-answers",
			says:  []string{`^always: wrong_bodies == 0: found \d+\n  cause   private answer shared\n.*/account.*private answer`},
			keeps: []string{"empty_answers == 0"},
		},
		{
			fault: fault.WrongBody, drill: "kill-best-pop",
			says:  []string{`^always: wrong_bodies == 0: found \d+\n  cause   wrong body\n.*byte 0`},
			keeps: []string{"empty_answers == 0", "withdrawal(best) < 100ms", "dns(saopaulo, www) == nyc"},
		},
		{
			fault: fault.KeysDifferently, drill: "steady-state",
			says:  []string{`^always: hit_ratio\(\*, tagged\) > 90%: found .*\n  cause   two POPs key one URL differently\n(?s:.*)nyc hit 0\.0%`},
			keeps: []string{"lost == 0", "wrong_bodies == 0", "updates(*) == 0", "through(ams, paged) > 90%"},
		},
		{
			fault: fault.ShieldBypassed, drill: "steady-state", quick: true,
			says:  []string{`^always: through\(ams, paged\) > 90%: found 0\.0%.*\n  cause   the shield is bypassed\n.*/paged at .* fetched without ams`},
			keeps: []string{"lost == 0", "wrong_bodies == 0", "updates(*) == 0", "hit_ratio(*, tagged) > 90%"},
		},
	}
}

// Each defect that can be planted is caught by a drill that ships, which says what is wrong. An ordinary run takes one
// defect of each daemon; the rest have the build tag lab.
func TestDrillsCatchABrokenSystem(t *testing.T) {
	t.Parallel()
	for _, c := range catches() {
		if c.quick {
			t.Run(c.fault, c.run)
		}
	}
}

// No defect is left out, and the documentation names the drill that catches it.
func TestEveryPlantedFaultHasItsDrill(t *testing.T) {
	docs, err := os.ReadFile("../../docs/drills.md")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, c := range catches() {
		have = append(have, c.fault)
		if row := fmt.Sprintf("\n| `%s` | %s |", c.fault, c.drill); !strings.Contains(string(docs), row) {
			t.Errorf("docs/drills.md has no row %q", row[1:])
		}
	}
	if want := fault.All(); !slices.Equal(have, want) {
		t.Errorf("drills catch %q, want %q", have, want)
	}
}

// run runs the drill with the defect planted.
func (c caught) run(t *testing.T) {
	t.Helper()
	t.Parallel()
	o := quickstart(t)
	var err error
	if o.Binary, err = faultyBinary(); err != nil {
		t.Fatal(err)
	}
	o.Env, o.Split = []string{"CATCHMENT_FAULT=" + c.fault}, c.split
	r := tryDrill(t, o, c.drill, c.wrong)
	t.Logf("what %s says of %s:\n%s", c.drill, c.fault, verdicts(r))
}

// wrong is what a report lacks to have caught the defect, or blames on something else.
func (c caught) wrong(r *drill.Report) (wrong []string) {
	if r.Pass {
		return []string{"it passes although the defect is planted"}
	}
	for _, says := range c.says {
		re := regexp.MustCompile(says)
		if !slices.ContainsFunc(r.Expectations, func(v drill.Verdict) bool { return !v.Pass && re.MatchString(verdict(v)) }) {
			wrong = append(wrong, fmt.Sprintf("no failed expectation says %s; they say\n%s", says, verdicts(r)))
		}
	}
	for _, text := range c.keeps {
		held := 0
		for _, v := range r.Expectations {
			switch {
			case v.Text != text:
			case v.Pass:
				held++
			default:
				wrong = append(wrong, "this fails as well: "+verdict(v))
			}
		}
		if held == 0 && len(wrong) == 0 {
			wrong = append(wrong, fmt.Sprintf("it has no expectation %q", text))
		}
	}
	return wrong
}
