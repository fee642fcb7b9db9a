package schema

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/internal/conf"
)

// What a reader takes, an editor does not mark: the patterns of quantities and addresses allow at least as much.
func TestPatternsTakeWhatReadersTake(t *testing.T) {
	for _, c := range []struct {
		kind   conf.Kind
		read   func(conf.Value)
		likely string // texts of which many are right
	}{
		{conf.DurationKind, func(v conf.Value) { v.Duration() }, `([0-9]{0,3}\.?[0-9]{0,2}(ns|us|µs|ms|s|m|h|d|w)?){1,2}`},
		{conf.RateKind, func(v conf.Value) { v.Rate() }, `[0-9]{0,3}\.?[0-9]{0,2} {0,2}[kMGT]?(/s)?`},
		{conf.BitRateKind, func(v conf.Value) { v.BitRate() }, `[0-9]{0,3}\.?[0-9]{0,2} {0,2}[kMGTP]?(bit)?/s`},
		{conf.BytesKind, func(v conf.Value) { v.Bytes() }, `[0-9]{0,3}\.?[0-9]{0,2} {0,2}[kKMGT]?i?B?`},
		{conf.AddrKind, func(v conf.Value) { v.Addr() }, `([0-9]{1,3}\.){3}[0-9]{1,3}|([0-9a-fA-F]{0,4}:){1,7}[0-9a-f]{0,4}|64:ff9b::[1-9]\.[1-9]\.[1-9]\.[1-9]`},
		{conf.PrefixKind, func(v conf.Value) { v.Prefix() }, `(([0-9]{1,3}\.){3}0|([0-9a-fA-F]{0,4}:){1,7}:?)/[0-9]{1,2}`},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			w := &writer{used: map[string]bool{}}
			form := regexp.MustCompile(w.scalar(conf.ScalarShape{Kind: c.kind}, "p")["pattern"].(string)) //nolint:forcetypeassert // a test
			taken := 0
			rapid.Check(t, func(t *rapid.T) {
				text := rapid.StringMatching(c.likely).Draw(t, "text")
				d := conf.Parse("f", []byte(`k: "`+text+`"`))
				c.read(d.Root().Fields("k").Get("k"))
				if d.Err() != nil {
					return
				}
				taken++
				if !form.MatchString(text) {
					t.Fatalf("the reader takes %q and %s does not", text, form)
				}
			})
			if taken == 0 {
				t.Error("the reader took nothing; the generator is wrong")
			}
		})
	}
}
