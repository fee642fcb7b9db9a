package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/labs/drill"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// block is a fenced block of a Markdown page. Words behind the language say what a test does with it:
//
//	```yaml topology               read by the strict reader; also site, drill (on the page's last topology)
//	```yaml drill file=x/d.yaml    and written there, for the commands that follow on the page
//	```sh test                     run in the page's folder; the first command that fails ends it
//	```text output                 what the last `sh test` above must have printed
//	```sh lab                      the same, in tests with the build tag lab: it brings a lab up
//	```sh later                    (or yaml … later) not in this version; it must not work yet
//
// Of any other block, each command line must at least exist.
type block struct {
	page, lang, text string
	marks            []string
}

func (b block) has(mark string) bool { return slices.Contains(b.marks, mark) }

// file is where the block is to be written, or "".
func (b block) file() string {
	for _, mark := range b.marks {
		if name, ok := strings.CutPrefix(mark, "file="); ok {
			return name
		}
	}
	return ""
}

// blocksOf reads the blocks of one page.
func blocksOf(page, text string) []block {
	fence := regexp.MustCompile("(?ms)^```([a-z]*)([^\n`]*)\n(.*?)^```$")
	var all []block
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		all = append(all, block{page: page, lang: m[1], marks: strings.Fields(m[2]), text: m[3]})
	}
	return all
}

func blocks(t *testing.T) []block {
	t.Helper()
	var all []block
	for page, text := range pages(t) {
		all = append(all, blocksOf(page, text)...)
	}
	return all
}

func TestBlocksOfAPage(t *testing.T) {
	got := blocksOf("p.md", "a\n```sh test\nls\n```\nb\n```\nplain\n```\n```yaml drill file=x/d.yaml\na: 1\n```\n")
	if len(got) != 3 || !got[0].has("test") || got[0].lang != "sh" || got[1].lang != "" || got[2].file() != "x/d.yaml" || got[2].text != "a: 1\n" {
		t.Errorf("got %+v", got)
	}
}

// playPage does what the blocks of a page say, in order, in one folder.
func playPage(t *testing.T, all []block, withLab bool) {
	t.Helper()
	dir := t.TempDir()
	runtime, err := os.MkdirTemp("", "docs") //nolint:usetesting // short: unix sockets go below it
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "XDG_RUNTIME_DIR="+runtime, "CATCHMENT_ADMIN=")
	t.Cleanup(func() {
		endLabs(t, env, runtime)
		_ = os.RemoveAll(runtime)
	})
	topo := &topology.Topology{}
	var printed []byte
	for _, b := range all {
		if b.has("output") && b.text != string(printed) {
			t.Errorf("%s: the page shows\n%s\nand the commands above it print\n%s", b.page, b.text, printed)
		}
		if b.has("later") {
			checkLater(t, b, topo)
			continue
		}
		if err := readBlock(b, &topo); err != nil {
			t.Errorf("%s: %v\n%s", b.page, err, b.text)
		}
		if name := b.file(); name != "" {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if b.has("test") || withLab && b.has("lab") {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			cmd := exec.CommandContext(ctx, "sh", "-euc", b.text)
			cmd.Dir = dir
			cmd.Env = env
			out, err := cmd.CombinedOutput()
			cancel()
			if err != nil {
				t.Errorf("%s: %v\n%s\n%s", b.page, err, b.text, out)
			}
			printed = out
		}
	}
}

// endLabs ends what a page that failed halfway left up.
func endLabs(t *testing.T, env []string, runtime string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(runtime, "catchment", "*"))
	if err != nil || len(left) == 0 {
		return
	}
	cmd := exec.CommandContext(context.Background(), "catchment", "lab", "down")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("end the page's lab: %v\n%s", err, out)
	}
}

// readBlock reads a YAML block as what its marks say; topo is the page's last topology.
func readBlock(b block, topo **topology.Topology) error {
	var err error
	switch {
	case b.lang != "yaml":
	case b.has("topology"):
		var t *topology.Topology
		if t, err = topology.Parse(b.page, []byte(b.text)); err == nil {
			*topo = t
		}
	case b.has("site"):
		_, err = site.Parse(b.page, []byte(b.text), nil)
	case b.has("drill"):
		_, err = drill.Parse(b.page, []byte(b.text), *topo)
	default:
		err = conf.Parse(b.page, []byte(b.text)).Err()
	}
	return err
}

// checkLater fails when something that is promised for later is there: the page has to say so.
func checkLater(t *testing.T, b block, topo *topology.Topology) {
	t.Helper()
	there := true
	if b.lang == "yaml" {
		there = readBlock(b, &topo) == nil
	}
	for _, words := range commandLines(b.text) {
		there = there && accepts(words[1:]) == nil
	}
	if there {
		t.Errorf("%s: this block works now; remove its `later`:\n%s", b.page, b.text)
	}
}

func TestPagesDoWhatTheySay(t *testing.T) {
	played := 0
	for page, text := range pages(t) {
		all := blocksOf(page, text)
		for _, b := range all {
			if b.has("test") {
				played++
			}
		}
		t.Run(page, func(t *testing.T) { playPage(t, all, false) })
	}
	if played == 0 {
		t.Error("no block of the documentation was run; they are no longer read")
	}
}
