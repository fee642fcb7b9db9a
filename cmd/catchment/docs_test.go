package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/drill"
)

// pages reads README.md and everything in docs/.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(file)] = string(text)
	}
	return texts
}

// shellWords splits a command line as a shell does, as far as documentation goes: quotes, and at the end a comment, a pipe
// or a file.
func shellWords(line string) []string {
	var words []string
	for _, m := range regexp.MustCompile(`"([^"]*)"|'([^']*)'|(#.*$)|(\S+)`).FindAllStringSubmatch(line, -1) {
		if m[3] != "" || m[4] == "|" || m[4] == ">" {
			break
		}
		words = append(words, m[1]+m[2]+m[4])
	}
	return words
}

// commandLines are the lines of a block that call catchment or make; a backslash joins two.
func commandLines(text string) [][]string {
	var lines [][]string
	for line := range strings.SplitSeq(regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, " "), "\n") {
		words := shellWords(line)
		if len(words) > 0 && (words[0] == "catchment" || words[0] == "make" || strings.HasSuffix(words[0], "/catchment")) {
			lines = append(lines, words)
		}
	}
	return lines
}

// accepts says what is wrong with a command line, without running it: the command and each flag must exist, with values
// that parse, and as many arguments as it takes.
func accepts(words []string) error {
	a := &app{out: io.Discard, err: io.Discard}
	cmd, rest, err := a.root().Find(words)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
		return cmd.Args(cmd, cmd.Flags().Args())
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

func TestDocumentedCommandsExist(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, b := range blocks(t) {
		if b.has("later") {
			continue
		}
		for _, words := range commandLines(b.text) {
			seen[words[0]]++
			if words[0] != "make" {
				if err := accepts(words[1:]); err != nil {
					t.Errorf("%s: `%s`: %v", b.page, strings.Join(words, " "), err)
				}
				continue
			}
			target := words[1]
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).Match(makefile) {
				t.Errorf("%s: `make %s`: the Makefile has no such target", b.page, target)
			}
		}
	}
	if seen["catchment"] < 7 || seen["make"] < 3 {
		t.Errorf("found %v command lines in the documentation; the blocks are no longer read", seen)
	}
}

// Commands within a sentence count, too, unless they only name a command and leave its arguments out (NAME, …).
func TestCommandsInSentencesExist(t *testing.T) {
	span := regexp.MustCompile("`(catchment [a-z][^`\n]*)`")
	found := 0
	for page, text := range pages(t) {
		for _, m := range span.FindAllStringSubmatch(text, -1) {
			words := slices.DeleteFunc(shellWords(m[1]), func(w string) bool { return w == "…" || w == "--" })
			found++
			root := (&app{out: io.Discard, err: io.Discard}).root()
			root.InitDefaultCompletionCmd()
			cmd, rest, err := root.Find(words[1:])
			if err == nil && cmd.HasParent() {
				err = cmd.ParseFlags(rest)
			}
			if err != nil || !cmd.HasParent() {
				t.Errorf("%s: `%s`: no such command (%v)", page, m[1], err)
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d commands in sentences; they are no longer read", found)
	}
}

func TestExamplesOfHelpAreAccepted(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		lines := commandLines(cmd.Example)
		if len(lines) == 0 {
			t.Errorf("`%s --help` has no example", cmd.CommandPath())
		}
		for _, words := range lines {
			if err := accepts(words[1:]); err != nil {
				t.Errorf("`%s --help` shows `%s`: %v", cmd.CommandPath(), strings.Join(words, " "), err)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk((&app{out: io.Discard, err: io.Discard}).root())
}

// Each YAML block of the documentation is a drill for the quickstart, or the start of one of the other files; all are
// read by the strict reader.
func TestDocumentedYAMLParses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "quickstart")
	if err := catalog.Extract("quickstart", dir); err != nil {
		t.Fatal(err)
	}
	snap, err := control.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, b := range blocks(t) {
		if b.lang != "yaml" || len(b.marks) > 0 { // a marked one is for its page, see playPage
			continue
		}
		found++
		doc := conf.Parse(b.page, []byte(b.text))
		doc.Root()
		if err := doc.Err(); err != nil {
			t.Errorf("%s: %v", b.page, err)
		}
		if strings.Contains(b.text, "\nexpect:") {
			if _, err := drill.Parse(b.page, []byte(b.text), snap.Topology); err != nil {
				t.Errorf("%s: %v", b.page, err)
			}
		}
	}
	if found == 0 {
		t.Error("the documentation has no YAML block; the blocks are no longer read")
	}
}

func TestReadmeLinksExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	found := 0
	for page, text := range pages(t) {
		dir := "../../docs"
		if page == "README.md" {
			dir = "../.."
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			found++
			if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
				t.Errorf("%s links to %q, which is not there", page, m[1])
			}
		}
	}
	if found == 0 {
		t.Error("no link found; the pages are no longer read")
	}
}
