// Package accesslog writes one line for each request: JSON or the combined form that log tools read. It is bounded and
// never makes a request wait: a line for which there is no room is counted and dropped.
//
//	request ─► Add: encode into the buffer ─(each 200 ms, or half full)─► Run: write, rotate
package accesslog

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// Record is what one line says. Text is as the client or the origin sent it; it is escaped, never trusted.
type Record struct {
	Time      time.Time // when the request began
	Client    netip.Addr
	Method    string
	Scheme    string
	Host      string
	Target    string // path and query
	Proto     string // "HTTP/1.1"
	Status    int
	Bytes     int64         // of the body that was sent
	Duration  time.Duration // to the last byte of the answer
	Result    string        // hit, stale, miss, pass, error: as popd_requests_total counts it
	Upstream  string        // which tier was asked: peer, shield, origin; empty: none
	Site      string
	Referer   string
	UserAgent string
}

// Format is the form of a line.
type Format string

// The formats.
const (
	JSON     Format = "json"     // an object a line
	Combined Format = "combined" // Apache's combined, and behind it: host, result, upstream, seconds
)

// appendJSON appends r as an object and a newline. Empty texts are left out, but for method and target.
func appendJSON(b []byte, r *Record) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, `","client":"`...)
	b = r.Client.AppendTo(b)
	b = append(b, `","method":`...)
	b = appendString(b, r.Method)
	b = append(b, `,"target":`...)
	b = appendString(b, r.Target)
	for _, f := range [...]struct{ name, value string }{
		{`,"scheme":`, r.Scheme},
		{`,"host":`, r.Host},
		{`,"proto":`, r.Proto},
		{`,"site":`, r.Site},
		{`,"result":`, r.Result},
		{`,"upstream":`, r.Upstream},
		{`,"referer":`, r.Referer},
		{`,"user_agent":`, r.UserAgent},
	} {
		if f.value != "" {
			b = append(b, f.name...)
			b = appendString(b, f.value)
		}
	}
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, r.Bytes, 10)
	b = append(b, `,"seconds":`...)
	b = strconv.AppendFloat(b, r.Duration.Seconds(), 'f', 6, 64)
	return append(b, "}\n"...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < ' ' || c == 0x7f:
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
			i++
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r) // utf8.RuneError, where it is none
			i += size
		}
	}
	return append(b, '"')
}

// appendCombined appends r as
//
//	CLIENT - - [TIME] "METHOD TARGET PROTO" STATUS BYTES "REFERER" "USER-AGENT" "HOST" RESULT UPSTREAM SECONDS
//
// with - for what is empty.
func appendCombined(b []byte, r *Record) []byte {
	b = r.Client.AppendTo(b)
	b = append(b, " - - ["...)
	b = r.Time.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	b = appendEscaped(b, r.Method)
	b = append(b, ' ')
	b = appendEscaped(b, r.Target)
	b = append(b, ' ')
	b = appendEscaped(b, r.Proto)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.Bytes, 10)
	for _, text := range [...]string{r.Referer, r.UserAgent, r.Host} {
		b = append(b, ` "`...)
		b = appendEscaped(b, orDash(text))
		b = append(b, '"')
	}
	for _, word := range [...]string{r.Result, r.Upstream} {
		b = append(b, ' ')
		b = append(b, orDash(word)...)
	}
	b = append(b, ' ')
	b = strconv.AppendFloat(b, r.Duration.Seconds(), 'f', 6, 64)
	return append(b, '\n')
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// appendEscaped appends s with \xHH for all but printable ASCII, and a backslash before quotes and backslashes.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c >= 0x7f:
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
