package labs

import (
	"testing"
	"time"
)

func TestHowMuchAFaultDoes(t *testing.T) {
	for _, tt := range []struct {
		arg   string
		delay time.Duration // -1: refused
		loss  float64       // -1: refused
	}{
		{"200ms", 200 * time.Millisecond, -1},
		{"0s", 0, -1},
		{"-5ms", -1, -1},
		{"200", -1, -1},
		{"30%", -1, 0.3},
		{"0%", -1, 0},
		{"100%", -1, 1},
		{"100.5%", -1, -1},
		{"-1%", -1, -1},
		{"NaN%", -1, -1},
		{"0.3", -1, -1},
		{"%", -1, -1},
		{"", -1, -1},
	} {
		d, err := Fault{Verb: Slow, Arg: tt.arg}.Delay()
		if err != nil {
			d = -1
		}
		loss, err := Fault{Verb: Lossy, Arg: tt.arg}.Loss()
		if err != nil {
			loss = -1
		}
		if d != tt.delay || loss != tt.loss {
			t.Errorf("%q: delay %v, loss %v; want %v and %v", tt.arg, d, loss, tt.delay, tt.loss)
		}
	}
}
