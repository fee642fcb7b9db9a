package h1

import "net/http"

// refusal is why a request is turned away by the loop itself. The connection ends with it: after a request that could
// not be read there is no telling where the next one begins.
type refusal struct {
	status int
	reason string // label of the metric
	text   string // for the client
}

func (r *refusal) Error() string { return r.text }

// What a request may be refused for, with its reason in RFC 9112 where no other is named.
var (
	errLineEnd     = &refusal{http.StatusBadRequest, "syntax", "a line ends in CRLF (section 2.2)"}
	errRequestLine = &refusal{http.StatusBadRequest, "syntax", "malformed request line (section 3)"}
	errFieldName   = &refusal{http.StatusBadRequest, "syntax", "malformed field name (section 5.1)"}
	errFieldValue  = &refusal{http.StatusBadRequest, "syntax", "malformed field value (section 5.5 of RFC 9110)"}
	errFold        = &refusal{http.StatusBadRequest, "syntax", "folded lines are not taken (section 5.2)"}
	errVersion     = &refusal{http.StatusHTTPVersionNotSupported, "version", "HTTP/1.0 and HTTP/1.1 are spoken here"}
	errForm        = &refusal{http.StatusBadRequest, "syntax", "this form of target does not go with this method (section 3.2)"}
	errHost        = &refusal{http.StatusBadRequest, "host", "want one valid Host (section 3.2)"}
	errLength      = &refusal{http.StatusBadRequest, "framing", "malformed or repeated Content-Length (section 6.3)"}
	errBoth        = &refusal{http.StatusBadRequest, "framing", "Transfer-Encoding with Content-Length (section 6.1)"}
	errOldChunks   = &refusal{http.StatusBadRequest, "framing", "Transfer-Encoding in HTTP/1.0 (section 6.1)"}
	errEncoding    = &refusal{http.StatusBadRequest, "framing", "malformed or repeated Transfer-Encoding (section 6.1)"}
	errCoding      = &refusal{http.StatusNotImplemented, "framing", "the only transfer coding taken is chunked (section 6.1)"}
	errExpect      = &refusal{http.StatusExpectationFailed, "expect", "the only expectation met is 100-continue (section 10.1.1 of RFC 9110)"}
	errTarget      = &refusal{http.StatusRequestURITooLong, "size", "the request line is too long"}
	errFields      = &refusal{http.StatusRequestHeaderFieldsTooLarge, "size", "the header has too many fields"}
	errHead        = &refusal{http.StatusRequestHeaderFieldsTooLarge, "size", "the header is too large"}
	errSlow        = &refusal{http.StatusRequestTimeout, "slow", "the header did not arrive in time"}
	errURL         = &refusal{http.StatusBadRequest, "syntax", "the target is no valid URL"}
)

// reasons are the labels of refusals.
var reasons = []string{"syntax", "version", "host", "framing", "expect", "size", "slow"}
