package topology

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
)

// Drain is how clients are moved away from a POP or node (design §6): DNS first, then routes that ask to be avoided, then
// none. The zero value of each time, and of AtOnce, is its default.
type Drain struct {
	DNS              time.Duration // from the wish to GSHUT: every name server must have heard of it; default 300 ms
	Min              time.Duration // of GSHUT at least, for the neighbours to move; default 300 ms
	Quiet            time.Duration // no client request for so long ends GSHUT; default 1 s
	Max              time.Duration // of GSHUT at most, clients or not; default 30 s
	Prepend          int           // how often our ASN stands in the path once more during GSHUT
	Communities      []uint32      // RFC 1997, besides 65535:0 during GSHUT: what neighbours' own policies ask for
	LargeCommunities [][3]uint32   // RFC 8092
	AtOnce           int           // how many POPs a drain, or a change of the configuration, may take away at once; default 1
}

// maxPrepend is how often a path may hold our ASN once more: networks drop longer paths than any that is real.
const maxPrepend = 10

// WithDefaults fills in what is zero.
func (d Drain) WithDefaults() Drain {
	fill := func(t *time.Duration, otherwise time.Duration) {
		if *t == 0 {
			*t = otherwise
		}
	}
	fill(&d.DNS, 300*time.Millisecond)
	fill(&d.Min, 300*time.Millisecond)
	fill(&d.Quiet, time.Second)
	fill(&d.Max, 30*time.Second)
	if d.AtOnce == 0 {
		d.AtOnce = 1
	}
	return d
}

// readDrain reads the ladder of a drain and fills in its defaults.
func readDrain(v conf.Value) Drain {
	f := v.Fields("dns", "min", "quiet", "max", "prepend", "communities", "at_once")
	var d Drain
	for _, one := range []struct {
		key string
		to  *time.Duration
	}{{"dns", &d.DNS}, {"min", &d.Min}, {"quiet", &d.Quiet}, {"max", &d.Max}} {
		if t := f.Get(one.key); t.Exists() {
			*one.to = positive(t, time.Millisecond, time.Hour)
		}
	}
	if n := f.Get("prepend"); n.Exists() {
		d.Prepend = n.Int(0, maxPrepend)
	}
	if n := f.Get("at_once"); n.Exists() {
		d.AtOnce = n.Int(1, MaxPOPs)
	}
	for _, item := range f.Get("communities").Items() {
		readCommunity(item, &d.Communities, &d.LargeCommunities)
	}
	d = d.WithDefaults()
	if m := f.Get("max"); m.Exists() && d.Max < max(d.Min, d.Quiet) {
		m.Fail(fmt.Sprintf("max %s is shorter than min %s or quiet %s", conf.Span(d.Max), conf.Span(d.Min), conf.Span(d.Quiet)),
			"let a drain wait at least as long as silence must last")
	}
	return d
}

// readCommunity reads "AS:VALUE" (RFC 1997) or "AS:X:Y" (RFC 8092).
func readCommunity(v conf.Value, short *[]uint32, large *[][3]uint32) {
	text := v.Word()
	if !v.IsScalar() {
		return
	}
	words := strings.Split(text, ":")
	numbers := make([]uint32, len(words))
	bits := 32
	if len(words) == 2 {
		bits = 16
	}
	for i, w := range words {
		n, err := strconv.ParseUint(w, 10, bits)
		if err != nil || len(words) < 2 || len(words) > 3 {
			v.Fail(fmt.Sprintf("community %q cannot be read", text), `write "64496:120", or "64496:0:120" for a large one (RFC 8092)`)
			return
		}
		numbers[i] = uint32(n)
	}
	if len(numbers) == 2 {
		*short = append(*short, numbers[0]<<16|numbers[1])
		return
	}
	*large = append(*large, [3]uint32(numbers))
}
