package control

import (
	"errors"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/internal/conf"
)

// FuzzZone loads any bytes as a zone: it is taken whole or refused with problems that lie within the file.
func FuzzZone(f *testing.F) {
	files := folderFiles(f, "testdata/good")
	f.Add(files["zones/shop.example"])
	f.Add([]byte("$ORIGIN x.\n@ 1 SOA a b ( 1 2 3\n 4 5 )\n"))
	f.Add([]byte("$GENERATE 1-3 a$ A 192.0.2.$\n"))
	f.Add([]byte("a A x\nb A y\n\"c\" A z\n"))
	f.Fuzz(func(t *testing.T, zone []byte) {
		_, err := Parse("x", map[string][]byte{TopologyFile: files[TopologyFile], "zones/shop.example": zone})
		var problems *conf.Problems
		if err == nil {
			return
		}
		if !errors.As(err, &problems) {
			t.Fatalf("got %T: %v", err, err)
		}
		lines := strings.Count(string(zone), "\n") + 1
		for _, p := range problems.List {
			if p.Line < 0 || p.Line > lines+1 || p.Fix == "" {
				t.Errorf("problem %q in %d lines", p, lines)
			}
		}
	})
}
