package fresh

import (
	"net/http"
	"strings"
	"time"
)

// ParseDate reads an HTTP-date (RFC 9110 §5.6.7) in any of its three forms. It is stricter than http.ParseTime, which
// takes missing digits and more blanks: what other caches would not call a date must not make an answer fresh here. The
// case of letters does not count.
func ParseDate(s string) (at time.Time, ok bool) {
	const rfc850Tail = len(", 02-Jan-06 15:04:05 GMT")
	comma := strings.IndexByte(s, ',')
	switch {
	case len(s) == len(http.TimeFormat) && comma == 3: // Sun, 06 Nov 1994 08:49:37 GMT
	case comma > 0 && len(s)-comma == rfc850Tail: // Sunday, 06-Nov-94 08:49:37 GMT
	case len(s) == len(time.ANSIC) && comma < 0: // Sun Nov  6 08:49:37 1994
	default:
		return time.Time{}, false
	}
	if zone := len(s) - 3; comma >= 0 && strings.EqualFold(s[zone:], "gmt") {
		s = s[:zone] + "GMT" // letters of days and months have no case for http.ParseTime either
	}
	at, err := http.ParseTime(s)
	return at, err == nil
}
