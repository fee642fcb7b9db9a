package key

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// MaxVariants is how many answers one URL may have at a time, one per set of selected request fields. A cache keeps
// the newest.
const MaxVariants = 32

// maxLanguages is how many languages of an Accept-Language count; the rest is dropped, which bounds the variants that a
// client can make up.
const maxLanguages = 8

// Vary reads the Vary fields of an answer: the field names that select it, in lower case, sorted, each once. It is not
// ok if the answer depends on more than header fields (`*`, RFC 9110 §12.5.5) or a name is no token, and so may never
// be used again.
func Vary(values []string) (names []string, ok bool) {
	for _, line := range values {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.ToLower(strings.Trim(name, " \t"))
			if name == "" {
				continue
			}
			if name == "*" || strings.ContainsFunc(name, func(r rune) bool { return !isTokenRune(r) }) {
				return nil, false
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// Variant is the key of the answer to a request with header h among those that the fields named (as by Vary) select.
// Without names it is primary itself. h must have gone through Normalise.
func Variant(primary Key, names []string, h http.Header) Key {
	if len(names) == 0 {
		return primary
	}
	sum := sha256.New()
	sum.Write(primary[:])
	for _, name := range names {
		values := members(h[http.CanonicalHeaderKey(name)])
		// A length before each value: no two lists of values can be written alike.
		fmt.Fprintf(sum, "\x00%s\x00%d", name, len(values))
		for _, v := range values {
			fmt.Fprintf(sum, "\x00%d\x00%s", len(v), v)
		}
	}
	return Key(sum.Sum(nil))
}

// members are the members of a list-based field, without the whitespace around them: in one line or in several they mean
// the same (RFC 9111 §4.1, RFC 9110 §5.3). A line with quotes, in which a comma may part nothing, is one member.
func members(lines []string) []string {
	var all []string
	for _, line := range lines {
		if strings.IndexByte(line, '"') >= 0 {
			all = append(all, strings.Trim(line, " \t"))
			continue
		}
		for m := range strings.SplitSeq(line, ",") {
			all = append(all, strings.Join(strings.Fields(m), " "))
		}
	}
	return all
}

// Normalise rewrites the two request fields that vary most without a difference in meaning, so that requests which
// want the same have one variant, and an origin sees exactly what the variant is kept under: Accept-Encoding keeps the
// codings that we know, in our order, without weights; Accept-Language the languages in the order of their weights.
func Normalise(h http.Header) {
	set(h, "Accept-Encoding", acceptEncoding(h["Accept-Encoding"]))
	set(h, "Accept-Language", acceptLanguage(h["Accept-Language"]))
}

func set(h http.Header, name, value string) {
	if value == "" {
		delete(h, name)
		return
	}
	h[name] = []string{value}
}

// acceptEncoding keeps of br, gzip and zstd those that the client takes. `*` names no coding that we could rely on; it
// counts as gzip, which everything reads, unless gzip is there by its name.
func acceptEncoding(values []string) string {
	takes := map[string]int{}
	for _, e := range weighted(values) {
		name := strings.TrimPrefix(e.name, "x-") // RFC 9110 §8.4.1.3
		if _, known := takes[name]; !known {
			takes[name] = e.thousandths
		}
	}
	if _, known := takes["gzip"]; !known {
		takes["gzip"] = takes["*"]
	}
	var known []string
	for _, name := range []string{"br", "gzip", "zstd"} {
		if takes[name] > 0 {
			known = append(known, name)
		}
	}
	return strings.Join(known, ", ")
}

func acceptLanguage(values []string) string {
	list := slices.DeleteFunc(weighted(values), func(l weightedName) bool { return l.thousandths == 0 })
	slices.SortStableFunc(list, func(a, b weightedName) int { return cmp.Compare(b.thousandths, a.thousandths) })
	var out []string
	for i, l := range list {
		if i == maxLanguages {
			break
		}
		if i > 0 {
			// Only the order counts: de;q=0.8 and de;q=0.5 after en are the same wish.
			l.name += ";q=0." + strconv.Itoa(10 - i)[:1]
		}
		out = append(out, l.name)
	}
	return strings.Join(out, ",")
}

type weightedName struct {
	name        string
	thousandths int
}

// weighted reads a list of names with weights (RFC 9110 §12.4.2), of which 0 refuses; those that cannot be read are left
// out, and so is every repetition.
func weighted(values []string) []weightedName {
	var list []weightedName
	for _, line := range values {
		for item := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(item, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			q, ok := weight(params)
			known := slices.ContainsFunc(list, func(e weightedName) bool { return e.name == name })
			if name == "" || !ok || known || strings.ContainsFunc(name, func(r rune) bool { return !isTokenRune(r) }) {
				continue
			}
			list = append(list, weightedName{name, q})
		}
	}
	return list
}

func weight(params string) (thousandths int, ok bool) {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			return qvalue(strings.TrimSpace(value))
		}
	}
	return 1000, true
}

// qvalue reads a number from 0 to 1 with at most three decimals (RFC 9110 §12.4.2).
func qvalue(s string) (thousandths int, ok bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 || strings.Trim(decimals, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(whole + (decimals + "000")[:3])
	return n, err == nil && n <= 1000
}

// isTokenRune: tchar of RFC 9110 §5.6.2.
func isTokenRune(r rune) bool {
	return r < 0x80 && (isUnreserved(byte(r)) || strings.ContainsRune("!#$%&'*+^`|", r))
}
