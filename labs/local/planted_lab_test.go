//go:build lab

package local

import "testing"

func TestDrillsCatchEveryPlantedFault(t *testing.T) {
	for _, c := range catches() {
		if !c.quick {
			t.Run(c.fault, c.run)
		}
	}
}
