package containerlab

import "testing"

func TestFraction(t *testing.T) {
	for in, want := range map[string]float64{"30%": 0.3, "0%": 0, "100%": 1, "0.5%": 0.005} {
		if got, err := fraction(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "30", "101%", "-1%", "x%"} {
		if got, err := fraction(in); err == nil {
			t.Errorf("%q was read as %v", in, got)
		}
	}
}
