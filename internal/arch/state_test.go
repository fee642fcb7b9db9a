package arch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMutableState(t *testing.T) {
	const rule = "; let it come in by Options (style.md, rule 11)"
	tests := []struct {
		name string
		text string
		want []string
	}{
		{"tables and sentinels are fine", `var names = []string{"a"}
var ErrX = errors.New("x")
var re = regexp.MustCompile("x")
func f() { names := names; names[0] = "b"; _ = names }`, nil},
		{"a parameter of the same name is not it", `var names []string
func f(names []string) { names[0] = "b" }`, nil},
		{"assigned", `var n int
func f() { n = 1 }`, []string{"x.go:3: package-level n is changed here" + rule}},
		{"assigned from another file", `func f() { other.field[1].x++ }`, []string{"x.go:2: package-level other is changed here" + rule}},
		{"a map", `var m = map[string]int{}
func f() { m["a"] = 1; delete(m, "a") }`, []string{"x.go:3: package-level m is changed here" + rule, "x.go:3: package-level m is changed here" + rule}},
		{"a range", `var k int
func f(s []int) { for k = range s {} }`, []string{"x.go:3: package-level k is changed here" + rule}},
		{"a lock", `var mu sync.Mutex`, []string{"x.go:2: package-level mu holds a lock, an atomic value or a channel" + rule}},
		{"an atomic value", `var p atomic.Pointer[int]`, []string{"x.go:2: package-level p holds a lock, an atomic value or a channel" + rule}},
		{"a pool in a value", `var p = &sync.Pool{}`, []string{"x.go:2: package-level p holds a lock, an atomic value or a channel" + rule}},
		{"a channel", `var c = make(chan int)`, []string{"x.go:2: package-level c holds a lock, an atomic value or a channel" + rule}},
		{"an interface's proof", `var _ sync.Locker = (*T)(nil)
func f() { _ = g() }`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mutableState(map[string][]byte{
				"x.go": []byte("package x\n" + tt.text + "\n"), "y.go": []byte("package x\nvar other T\n"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
