package conf_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/internal/conf"
)

// FuzzReaders applies every reader to every value of any text: nothing may panic, and every problem must lie within
// the text.
func FuzzReaders(f *testing.F) {
	for _, seed := range []string{
		"a: 1\n", "a: [1, {b: 2001:db8::/32}]\nc: 10s\n", "a:\n\tb: 1\n", "a: &x 1\nb: *x\n", "a: 'x\n", "{a: 1, a: 2, ? [x] : y}", "- a\nb: 1\n",
		"a: 20k/s\nb: 1GiB\nc: {env: X}\nd: hunter2\n", "\xef\xbb\xbfa: 1\n", "a: |\n  x\n  y\n", "é: ü\r\nb: c: d\r\n", "---\n...\n---\n", "\r\r0", "%YAML 1.2\n---\na: 1\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d := conf.Parse("f", text)
		readAll(d.Root(), 0)
		err := d.Err()
		if err == nil {
			return
		}
		var problems *conf.Problems
		if !errors.As(err, &problems) {
			t.Fatalf("got %T, want *conf.Problems", err)
		}
		lines := strings.Split(string(text), "\n")
		for _, p := range problems.List {
			if p.Line < 0 || p.Col < 0 || p.Line > len(lines)+1 {
				t.Errorf("problem %v lies outside %d lines", p, len(lines))
			}
			if p.What == "" || (p.Fix == "" && p.Line > 0) {
				t.Errorf("problem %v says too little", p)
			}
		}
		var out bytes.Buffer
		if err := problems.Render(&out); err != nil {
			t.Error(err)
		}
	})
}

func readAll(v conf.Value, depth int) {
	if depth > 8 {
		return
	}
	v.Duration()
	v.Int(0, 10)
	v.Float(0, 1)
	v.Bool()
	v.Prefix()
	v.Addr()
	v.Enum("a", "b")
	v.Rate()
	v.BitRate()
	v.Bytes()
	v.Fraction()
	v.Secret()
	v.Word()
	v.Text()
	v.Pos()
	conf.HostName(v, "host")
	v.Fields("a", "b").Need("c", "write it")
	v.Lookup("a", "b").Word()
	for _, e := range v.Entries() {
		readAll(e.Key, depth+1)
		readAll(e.Value, depth+1)
	}
	if v.IsList() {
		for _, item := range v.Items() {
			readAll(item, depth+1)
		}
	}
}
