package topology_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every piece of a topology in the handbook can be read.
func TestDocumentedTopologies(t *testing.T) {
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatal("no block of YAML in docs/operating.md")
	}
	for _, b := range blocks {
		text := b[1]
		for key, whole := range map[string]string{
			"asn:": "asn: 64500\n", "anycast:": "anycast: {prefixes: [192.0.2.0/24, 2001:db8:53::/48]}\n",
			"pops:": "pops: {ams: {at: AMS, unicast: [203.0.113.0/28, 2001:db8:a1::/48]}}\n",
		} {
			if !strings.Contains("\n"+text, "\n"+key) {
				text += whole
			}
		}
		parse(t, text)
	}
}
