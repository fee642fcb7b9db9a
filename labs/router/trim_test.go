//go:build linux

package router

import (
	"slices"
	"strings"
	"testing"
)

func TestProgramPages(t *testing.T) {
	const maps = `00400000-00e00000 r-xp 00000000 fe:00 1 /bin/catchment
00e00000-01800000 r--p 00a00000 fe:00 1 /bin/catchment
01800000-01860000 rw-p 01400000 fe:00 1 /bin/catchment
01860000-018a0000 rw-p 00000000 00:00 0
c000000000-c000800000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 fe:00 2 /lib/other
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
`
	want := [][2]uintptr{{0x400000, 0xe00000}, {0xe00000, 0x1800000}}
	if got := programPages(strings.NewReader(maps), "/bin/catchment"); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x: never what can be written", got, want)
	}
}
