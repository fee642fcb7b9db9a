package probe

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// ReadPressure says for how long, so far, anybody on this machine has waited for a processor: the total of "some" in
// Linux's pressure stall information; false where the kernel keeps none.
func ReadPressure() (time.Duration, bool) {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0, false
	}
	return parsePressure(text)
}

// parsePressure reads "some avg10=0.00 avg60=0.00 avg300=0.00 total=MICROSECONDS" and whatever follows.
func parsePressure(text []byte) (time.Duration, bool) {
	some, _, _ := bytes.Cut(text, []byte("\n"))
	_, total, found := bytes.Cut(some, []byte(" total="))
	if !found || !bytes.HasPrefix(some, []byte("some ")) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(total), 10, 64)
	return time.Duration(n) * time.Microsecond, err == nil && n >= 0
}
