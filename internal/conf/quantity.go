package conf

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// unit is a suffix and what it multiplies by. In a list, a suffix comes before those that it ends with.
type unit struct {
	suffix string
	factor float64
}

func durationUnits() []unit {
	return []unit{
		{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 24 * 3600e9},
	}
}

// Duration reads a span of time that is not negative, such as 100ms, 1.5s, 1h30m or 7d. A unit is required.
func (v Value) Duration() time.Duration {
	v.shape.scalar(ScalarShape{Kind: DurationKind})
	s, ok := v.scalar("a duration such as 100ms, 10s or 1h")
	if !ok {
		return 0
	}
	d, why := parseDuration(s)
	switch why {
	case "":
		return d
	case "has no unit":
		v.bad(why, fmt.Sprintf("write %[1]sms, %[1]ss, %[1]sm or %[1]sh", s))
	default:
		v.bad(why, "write one such as 100ms, 10s or 1h")
	}
	return 0
}

// parseDuration returns why s is not a duration, or "".
func parseDuration(s string) (time.Duration, string) {
	const no = "is not a duration"
	if strings.HasPrefix(s, "-") {
		return 0, "is negative"
	}
	if _, ok := decimal(s); ok {
		return 0, "has no unit"
	}
	var total float64
	for rest := s; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789."))
		n, ok := decimal(rest[:digits])
		if !ok {
			return 0, no
		}
		rest = rest[digits:]
		letters := strings.IndexAny(rest, "0123456789.")
		if letters < 0 {
			letters = len(rest)
		}
		factor, ok := factorOf(durationUnits(), rest[:letters])
		if !ok {
			return 0, no
		}
		total += n * factor
		rest = rest[letters:]
	}
	if s == "" {
		return 0, no
	}
	if total >= math.MaxInt64 {
		return 0, "is longer than 292 years"
	}
	return time.Duration(math.Round(total)), ""
}

func factorOf(units []unit, suffix string) (float64, bool) {
	for _, u := range units {
		if u.suffix == suffix {
			return u.factor, true
		}
	}
	return 0, false
}

// quantity reads a number that is not negative with one of the units behind it.
func (v Value) quantity(units []unit, want string) float64 {
	s, ok := v.scalar(want)
	if !ok {
		return 0
	}
	digits := len(s) - len(strings.TrimLeft(s, "0123456789."))
	n, number := decimal(s[:digits])
	factor, known := factorOf(units, strings.TrimSpace(s[digits:]))
	switch {
	case number && digits == len(s):
		v.bad("has no unit", "write "+want)
	case !number:
		v.bad("cannot be read", "write "+want)
	case !known:
		v.bad("has an unknown unit", "write "+want)
	default:
		return n * factor
	}
	return 0
}

// Rate reads events per second: 200/s, 20k/s, 1.5M/s.
func (v Value) Rate() float64 {
	v.shape.scalar(ScalarShape{Kind: RateKind})
	return v.quantity([]unit{{"/s", 1}, {"k/s", 1e3}, {"M/s", 1e6}, {"G/s", 1e9}}, "a rate such as 200/s or 20k/s")
}

// BitRate reads bits per second: 500kbit/s, 100Mbit/s, 10Gbit/s.
func (v Value) BitRate() float64 {
	v.shape.scalar(ScalarShape{Kind: BitRateKind})
	return v.quantity([]unit{{"bit/s", 1}, {"kbit/s", 1e3}, {"Mbit/s", 1e6}, {"Gbit/s", 1e9}, {"Tbit/s", 1e12}},
		"a bit rate such as 100Mbit/s or 10Gbit/s")
}

// Bytes reads a size: 512B, 64KiB, 1GiB, also in powers of ten (10GB). A unit is required.
func (v Value) Bytes() int64 {
	v.shape.scalar(ScalarShape{Kind: BytesKind})
	n := v.quantity([]unit{
		{"B", 1},
		{"KiB", 1 << 10},
		{"MiB", 1 << 20},
		{"GiB", 1 << 30},
		{"TiB", 1 << 40},
		{"kB", 1e3},
		{"MB", 1e6},
		{"GB", 1e9},
		{"TB", 1e12},
	}, "a size such as 512MiB or 10GiB")
	if n >= math.MaxInt64 {
		v.bad("is too large", "write a size such as 512MiB or 10GiB")
		return 0
	}
	return int64(n)
}

// Fraction reads a share of the whole, 0 to 1: 0.5% or 0.005.
func (v Value) Fraction() float64 {
	v.shape.scalar(ScalarShape{Kind: FractionKind})
	const want = "a share such as 0.5% or 0.005"
	s, ok := v.scalar(want)
	if !ok {
		return 0
	}
	percent := strings.HasSuffix(s, "%")
	n, number := decimal(strings.TrimSuffix(s, "%"))
	if percent {
		n /= 100
	}
	switch {
	case !number:
		v.bad("is not a share", "write "+want)
	case n < 0 || n > 1:
		v.bad("is not between 0 and 100 %", "write "+want)
	default:
		return n
	}
	return 0
}

// Span is how a duration is written in our files, in its largest whole unit: 24h, 90s, 2.5ms.
func Span(d time.Duration) string {
	for _, unit := range []struct {
		of     time.Duration
		letter string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if d >= unit.of && d%unit.of == 0 {
			return fmt.Sprintf("%d%s", d/unit.of, unit.letter)
		}
	}
	return d.String()
}
