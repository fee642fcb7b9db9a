package master

import (
	"bytes"
	"strings"

	"github.com/miekg/dns"
)

// generateTTL writes the $TTL in force into each $GENERATE line that has no TTL of its own: the library gives such
// records an hour. Lines keep their numbers.
func generateTTL(text []byte) []byte {
	if !bytes.Contains(bytes.ToUpper(text), []byte("$GENERATE")) {
		return text
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	ttl := ""
	for i, line := range lines {
		words := strings.Fields(string(line))
		switch {
		case len(words) >= 2 && strings.EqualFold(words[0], "$TTL"):
			ttl = words[1]
		case len(words) >= 5 && ttl != "" && strings.EqualFold(words[0], "$GENERATE") && isTypeOrClass(words[3]):
			words[3] = ttl + " " + words[3]
			lines[i] = []byte(strings.Join(words, " ") + "\n")
		}
	}
	return bytes.Join(lines, nil)
}

func isTypeOrClass(word string) bool {
	word = strings.ToUpper(word)
	_, class := dns.StringToClass[word]
	_, known := dns.StringToType[word]
	return class || known || strings.HasPrefix(word, "TYPE") || strings.HasPrefix(word, "CLASS")
}
