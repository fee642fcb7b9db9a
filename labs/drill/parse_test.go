package drill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShippedDrillsParse(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(quickstart, "drills", "*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("drills %q, error %v: want at least four", files, err)
	}
	for _, f := range files {
		d := shipped(t, strings.TrimSuffix(filepath.Base(f), ".yaml"))
		if d.End == 0 || len(d.Loads) == 0 || len(d.Windows) == 0 { // a drill of a steady lab has no steps
			t.Errorf("%s: end %v, %d loads, %d windows: want all of them", f, d.End, len(d.Loads), len(d.Windows))
		}
	}
}

const sound = `load:
  www: {get: http://www.shop.example/, rate: 20/s}
  few: {get: http://img.shop.example/, rate: 1/s, from: [berlin]}
let:
  best: catchment(berlin, www)
at:
  3s: kill best
  5s: [heal best, cut nyc -> arc]
  9s: end
expect:
  always: lost == 0
  3s..5s: [withdrawal(best) < 1s, "outage(*) < 1s"]
  after 6s:
    - catchment(berlin, few) != nyc
`

func TestSoundDrillParses(t *testing.T) {
	if _, err := Parse("d.yaml", []byte(sound), reference(t)); err != nil {
		t.Fatal(err)
	}
}

// Each row replaces a part of a sound drill by a mistake; the message says where it is and what would be right.
func TestMistakes(t *testing.T) {
	tests := []struct{ name, old, bad, want string }{
		{"unknown key", "let:", "lets:", `d.yaml:4:1: unknown key "lets"; did you mean "let"?`},
		{"no end", "  9s: end\n", "", `the drill has no end; add a line such as 20s: end`},
		{"second end", "9s: end", "9s: [end, end]", `d.yaml:9:13: a second end; keep one`},
		{"unknown verb", "kill best", "kil best", `d.yaml:7:7: unknown verb "kil"; did you mean "kill"?`},
		{"unknown subject", "kill best", "kill amz", `d.yaml:7:7: kill of unknown subject "amz"; did you mean "ams"?`},
		{"unknown link", "cut nyc -> arc", "cut nyc -> ark", `d.yaml:8:19: cut of unknown link "nyc -> ark"; did you mean "nyc -> arc"?`},
		{"link for a POP's verb", "kill best", "kill nyc -> arc", `kill of unknown subject "nyc -> arc"`},
		{"POP for a link's verb", "cut nyc -> arc", "cut nyc", `cut of unknown link "nyc"`},
		{"loss without how much", "cut nyc -> arc", "lossy nyc -> arc", `argument "arc" of lossy; write a percentage above 0%`},
		{"loss of more than all", "cut nyc -> arc", "lossy nyc -> arc 130%", `argument "130%" of lossy; write a percentage above 0%`},
		{"slow without a unit", "cut nyc -> arc", "slow nyc -> arc 30", `argument "30" of slow; write a time above 0s`},
		{"skew by nothing", "kill best", "skew best 0s", `argument "0s" of skew; write a time other than 0s`},
		{"slow client", "cut nyc -> arc", "slow berlin 30ms", `slow of unknown subject "berlin"`},
		{"share without a unit", "lost == 0", "share(ams) < 1", `1 is no share; write a percentage such as 60%`},
		{"share of more than all", "lost == 0", "share(ams) < 160%", `"160%" is neither a number nor a duration nor a share`},
		{"disagreement over a browser's load", "lost == 0", "\"disagreement(*, www) == 0s\"", `unknown dns load "www"; there is no dns load at all`},
		{"unknown state", "lost == 0", "\"seen(best, dead) < 1s\"", `unknown state "dead"; the states are: down, draining`},
		{"two questions", "{get: http://img.shop.example/,", "{dns: img.shop.example, get: http://img.shop.example/,", `a load with both get and dns; make two loads of it`},
		{"host that is none", "get: http://img.shop.example/", "dns: img_shop/", `dns "img_shop/" is not a host that name servers can be asked for`},
		{"function with too few arguments", "lost == 0", "attracts(ams) < 1s", `attracts with 1 arguments; write attracts(POP, down)`},
		{"heal of what is well", "heal best, ", "heal sin, ", `d.yaml:8:8: nothing was done to "sin" before that "heal" could undo; name a subject of an earlier step`},
		{"step without a unit", "3s: kill", "3: kill", `d.yaml:7:3: time "3" of a step; write one such as 3s`},
		{"step after the end", "3s: kill best", "30s: kill best", `comes when the drill has ended`},
		{"unknown client", "berlin, www", "berlim, www", `d.yaml:5:19: unknown client "berlim"; did you mean "berlin"?`},
		{"unknown load", "berlin, www", "berlin, ww", `d.yaml:5:27: unknown load "ww"; did you mean "www"?`},
		{"let named like a POP", "best: catch", "ams: catch", `d.yaml:5:3: let "ams" has the name of a POP; choose another name`},
		{"let of a duration", "catchment(berlin, www)", "outage(berlin, www)", `function "outage" gives no POP; write catchment(CLIENT, LOAD) or dns(CLIENT, LOAD)`},
		{"unknown function", "catchment(berlin, few)", "catchmet(berlin, few)", `d.yaml:14:7: unknown function "catchmet"; did you mean "catchment"?`},
		{"client that does not send the load", "catchment(berlin, few)", "catchment(tokyo, few)", `client "tokyo" does not send load "few"; it comes from: berlin`},
		{"unknown POP", "!= nyc", "!= nic", `d.yaml:14:33: unknown name "nic"; did you mean "nyc"?`},
		{"POPs in order", "!= nyc", "< nyc", `"<" does not compare POPs; write == or !=`},
		{"assignment", "lost == 0", "lost = 0", `d.yaml:11:16: "=" compares nothing; write "=="`},
		{"duration without a unit", "withdrawal(best) < 1s", "withdrawal(best) < 1", `d.yaml:12:31: 1 has no unit; write 1ms or 1s`},
		{"two kinds", "lost == 0", "lost == 1s", `1s is a duration`},
		{"nothing measured", "lost == 0", "best == nyc", `this comparison measures nothing`},
		{"nothing compared", "lost == 0", "lost", `nothing is compared`},
		{"withdrawal without a fault", "3s..5s:", "6s..7s:", `nothing is done to "best" in this window`},
		{"window outside", "after 6s", "after 16s", `d.yaml:13:3: window "after 16s" lies outside the drill or holds no time; the drill runs from 0s to 9s`},
		{"window backwards", "3s..5s:", "5s..3s:", `lies outside the drill or holds no time`},
		{"window without a unit", "3s..5s:", "3..5s:", `window "3..5s" cannot be read`},
		{"unknown window", "always:", "allways:", `window "allways" cannot be read; write always, FROM..TO such as 3s..13s, or after T`},
		{"rate without a unit", "rate: 20/s", "rate: 20", `has no unit`},
		{"rate of nothing", "rate: 20/s", "rate: 0/s", `rate "0/s" is out of range`},
		{"https", "get: http://www", "get: https://www", `is not a URL that a client can ask`},
		{"load from nowhere", "from: [berlin]", "from: [berlni]", `unknown client "berlni"; did you mean "berlin"?`},
		{"comma in a flow list", "always: lost == 0", "always: [dns(berlin, www) == nyc]", `d.yaml:11:22: "dns(" is not closed; write ")" behind the last argument; inside [ ] and { } a comma needs quotes`},
		{"empty window", "always: lost == 0", "always: []", `nothing is expected in "always"`},
	}
	topo := reference(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(sound, tt.old, tt.bad, 1)
			if text == sound {
				t.Fatalf("%q is not in the drill", tt.old)
			}
			_, err := Parse("d.yaml", []byte(text), topo)
			if err == nil {
				t.Fatal("parsed")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "d.yaml:") {
					t.Errorf("no place in %q", line)
				}
			}
		})
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	text := strings.NewReplacer("kill best", "kil best", "lost == 0", "lost = 0", "berlin, few", "berlin, fewer").Replace(sound)
	_, err := Parse("d.yaml", []byte(text), reference(t))
	if err == nil || strings.Count(err.Error(), "\n") < 2 {
		t.Errorf("got %v, want at least three mistakes", err)
	}
}

func FuzzComparison(f *testing.F) {
	for _, s := range []string{"lost == 0", "outage(*, img) < 1.5s", "dns(a,b)==c", "routes(arc, anycast) > 0", "((", "1 = = 2", "a.b.. != é", "share(ams) > 6.5%", "lossy % == 3%%", "origin_requests(o.shop.example) < 3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, m := parseComparison(s)
		switch {
		case m == nil && (n == nil || n.kind != compareNode || len(n.args) != 2):
			t.Fatalf("%q: no mistake and no comparison", s)
		case m != nil && (m.col < 0 || m.col > len(s) || m.what == "" || m.fix == ""):
			t.Fatalf("%q: mistake %+v", s, *m)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(sound)
	text, err := os.ReadFile(filepath.Join(quickstart, "drills", "kill-best-pop.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("load: {a: {dns: w.example, rate: 1/s}}\nat: {1s: [lossy arc -- bolt 3%, skew ams -3s, slow origin.shop.example 1s], 3s: end}\nexpect: {always: [\"disagreement(*, a) == 0s\", updates(*) == 0]}\n")
	topo := reference(f)
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := Parse("d.yaml", []byte(s), topo); err == nil {
			Evaluate(d, &Recording{}) // must not panic on no evidence at all
		}
	})
}

// Every drill in docs/drills.md can be read.
func TestDocumentedDrillsParse(t *testing.T) {
	text, err := os.ReadFile("../../docs/drills.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "```yaml\n")
	if len(parts) < 2 {
		t.Fatal("docs/drills.md shows no drill")
	}
	for _, part := range parts[1:] {
		block, _, _ := strings.Cut(part, "```")
		if _, err := Parse("docs.yaml", []byte(block), reference(t)); err != nil {
			t.Error(err)
		}
	}
}
