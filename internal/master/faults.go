package master

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/conf"
)

// maxFaults is how many faults of one zone file are looked for: each one costs a pass over the file.
const maxFaults = 20

// furtherFaults reports the faults behind the one at line, where the library stops: it blanks that line and parses
// again, as long as the line is a record of its own.
func furtherFaults(doc *conf.Doc, origin string, text []byte, line int) {
	lines := bytes.SplitAfter(bytes.Clone(text), []byte("\n"))
	for range maxFaults {
		bad := lines[line-1]
		if bytes.ContainsAny(bad, "()\"") || bytes.HasPrefix(bad, []byte("$")) {
			return // blanking it would make faults that are none
		}
		lines[line-1] = []byte("\n")
		zp := dns.NewZoneParser(bytes.NewReader(bytes.Join(lines, nil)), origin, "")
		for _, ok := zp.Next(); ok; _, ok = zp.Next() {
		}
		err := zp.Err()
		if err == nil || strings.Contains(err.Error(), "missing TTL") {
			return
		}
		m := libraryError.FindStringSubmatch(err.Error())
		if m == nil {
			return
		}
		next, _ := strconv.Atoi(m[3])
		if next <= line || next > len(lines) {
			return
		}
		line = fail(doc, err)
	}
}

// libraryError is how the library writes: what, the token, where.
var (
	libraryError = regexp.MustCompile(`^dns: (.+): ("(?:[^"\\]|\\.)*") at line: (\d+):(\d+)$`)
	badField     = regexp.MustCompile(`^bad (\S+) (.+)$`)
)

// fail records the library's error at its place, in words that someone who edits the file knows. It returns the
// line, 0 if the error names none.
func fail(doc *conf.Doc, err error) int {
	m := libraryError.FindStringSubmatch(err.Error())
	if m == nil {
		doc.Fail(0, 0, "master file: "+strings.TrimPrefix(err.Error(), "dns: "), "mend the file (RFC 1035 §5)")
		return 0
	}
	line, _ := strconv.Atoi(m[3])
	col, _ := strconv.Atoi(m[4])
	what, fix := explain(m[1], m[2])
	doc.Fail(line, col, what, fix)
	return line
}

func explain(message, token string) (what, fix string) {
	const mend = "mend this record (RFC 1035 §5)"
	field := badField.FindStringSubmatch(message)
	switch {
	case strings.HasPrefix(message, "missing TTL"):
		return "the first record has no TTL", "begin the file with `$TTL 300`"
	case strings.HasPrefix(message, "$INCLUDE"):
		return "$INCLUDE is not followed", "write the records into this file: one zone is one file"
	case strings.Contains(message, "$GENERATE"):
		return fmt.Sprintf("$GENERATE: %s is not what belongs here", token), "write `$GENERATE 1-20 host$ A 192.0.2.$`, with 65,536 records at most"
	case message == "not a TTL":
		return fmt.Sprintf("%s is neither a record type, a class nor a TTL", token), "write for example `www 300 IN A 192.0.2.80`"
	case field != nil && field[1] == "SOA":
		return fmt.Sprintf("SOA record: %s is not what belongs here", token),
			"write `@ SOA ns1 hostmaster SERIAL REFRESH RETRY EXPIRE MINIMUM`, and close a parenthesis"
	case field != nil && (field[1] == "A" || field[1] == "AAAA"):
		return fmt.Sprintf("%s record: %s is no address for it", field[1], token), "A takes an IPv4 address, AAAA an IPv6 address"
	case field != nil:
		return fmt.Sprintf("%s record: %s cannot be read as its %s", field[1], token, field[2]), mend
	}
	return fmt.Sprintf("master file: %s: %s", message, token), mend
}
