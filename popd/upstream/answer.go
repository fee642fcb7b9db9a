package upstream

import (
	"fmt"
	"math"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/catchment-net/catchment/popd/fresh"
)

// Early is an interim answer (RFC 9110 §15.2), such as 103 with Link fields (RFC 8297).
type Early struct {
	Status int
	Header http.Header
}

// maxEarly is how many interim answers one exchange may have, signs of life excepted, before it counts as broken.
const maxEarly = 16

// Answer is an upstream's answer. Its body must be closed.
type Answer struct {
	*http.Response
	Tier                      string        // Peer, Shield or Origin
	Age                       time.Duration // as a node counts it, whatever its wall clock says; negative: not known
	Rules                     string        // RulesField of a node
	RequestTime, ResponseTime time.Time
}

// Error says that no upstream gave an answer.
type Error struct {
	Timeout bool // the last one was too slow, rather than unreachable or broken
	Err     error
}

// Error is error's.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// unsentError marks a failure before the first byte of a request, after which even a POST may be tried elsewhere.
type unsentError struct{ error }

// Unwrap is for errors.Is and errors.As.
func (e unsentError) Unwrap() error { return e.error }

// wellFormed refuses what no next hop may be sent: an unknown class of status (RFC 9110 §15) and fields that would not
// be read there as they were read here (RFC 9110 §5.5). The answer is closed then.
func wellFormed(resp *http.Response) error {
	err := error(nil)
	if resp.StatusCode < 200 || resp.StatusCode > 599 {
		err = fmt.Errorf("its status is %d", resp.StatusCode)
	}
	for name, values := range resp.Header {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			err = fmt.Errorf("its field %q is malformed", name)
		}
	}
	if err != nil {
		_ = resp.Body.Close() // its content is not used
	}
	return err
}

// dated gives an answer without a Date that can be read the time at which it came (RFC 9110 §6.6.1).
func dated(h http.Header, now time.Time) {
	if _, ok := fresh.ParseDate(h.Get("Date")); !ok {
		h["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	}
}

// ageOf is a node's AgeField. Nobody else is believed.
func ageOf(resp *http.Response, tier string) time.Duration {
	ms, err := strconv.ParseInt(resp.Header.Get(AgeField), 10, 64)
	if tier == Origin || err != nil || ms < 0 || ms > math.MaxInt32*1000 {
		return -1
	}
	return time.Duration(ms) * time.Millisecond
}

// forward hands interim answers on, a bounded number of them.
func forward(early chan<- Early) func(int, textproto.MIMEHeader) error {
	n := 0
	return func(status int, h textproto.MIMEHeader) error {
		if n++; n > maxEarly {
			return fmt.Errorf("more than %d interim answers", maxEarly)
		}
		if status == http.StatusContinue {
			return nil
		}
		select {
		case early <- Early{status, http.Header(h).Clone()}:
		default:
		}
		return nil
	}
}
