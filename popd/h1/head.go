package h1

import (
	"bytes"
	"io"
)

// The limits of a request's head.
const (
	maxTarget = 16 << 10 // bytes of method, target and version; more is 414 (RFC 9112 §3)
	maxFields = 128      // lines of a header; more is 431 (RFC 6585 §5)
)

// Known names the fields that the loop or a Hot may ask for.
type Known uint8

// The known fields.
const (
	Other Known = iota
	AcceptEncoding
	AcceptLanguage
	Authorization
	CacheControl
	CDNLoop
	Connection
	ContentLength
	Cookie
	Expect
	Host
	IfMatch
	IfModifiedSince
	IfNoneMatch
	IfRange
	IfUnmodifiedSince
	Pragma
	Range
	TransferEncoding
	Upgrade
	numKnown
)

// Field is one line of a header as it came, without the white space around its value (RFC 9112 §5).
type Field struct {
	Name, Value []byte
	Known       Known
}

// Head is the head of one request. Its slices lie in the connection's buffer: they are valid until the request has been
// answered, and must not be changed. Once it has been judged (framing.go), nothing in it can be read in two ways.
type Head struct {
	Method, Target []byte
	Minor          int     // of HTTP/1.x: 0 or 1
	Fields         []Field // in order
	Host           []byte  // as the request means it: from the target if that is a URL, else from Host
	HTTPS          bool    // it came over TLS
	ServerName     string  // that the client named in its TLS hello
	Remote         string  // "IP:port" of the client

	length   int64 // bytes of the body, -1 if it comes in chunks
	close    bool  // the client asks to close, or it did not ask to stay (HTTP/1.0)
	hopNames bool  // Connection names fields, which end here
	waits    bool  // for 100 (Continue)
	absolute bool  // the target is a URL

	count [numKnown]uint8 // lines of each known field
	at    int             // where the next line begins
	begun bool            // the request line has been read
}

// Parse reads and judges the head of a request that is whole, as the loop does with what it has received. b must not
// change while the Head is used.
func Parse(b []byte) (*Head, error) {
	h := new(Head)
	n, err := h.parse(b)
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, io.ErrUnexpectedEOF
	}
	return h, h.judge()
}

// Has reports whether a field is there.
func (h *Head) Has(k Known) bool { return h.count[k] > 0 }

// One returns a field's value if there is one line of it; nil if there is none, or several.
func (h *Head) One(k Known) []byte {
	if h.count[k] != 1 {
		return nil
	}
	for i := range h.Fields {
		if h.Fields[i].Known == k {
			return h.Fields[i].Value
		}
	}
	return nil
}

// Plain reports whether the request is a GET or HEAD without a body and without anything that asks the connection or the
// server for more than an answer.
func (h *Head) Plain() bool {
	return h.length == 0 && !h.hopNames && !h.waits && !h.absolute && h.count[Upgrade] == 0 && h.count[Expect] == 0 &&
		(string(h.Method) == "GET" || string(h.Method) == "HEAD")
}

// reset makes the head ready for the next request.
func (h *Head) reset() {
	*h = Head{Fields: h.Fields[:0], HTTPS: h.HTTPS, ServerName: h.ServerName, Remote: h.Remote}
}

// parse reads on in b, which begins with the request and has grown since the last call. It returns the head's length in
// bytes once it is whole, 0 if more is needed. Lines end in CRLF and nothing else: a lone LF or CR is where two readers
// of one stream come apart (RFC 9112 §2.2 allows to reject, §11.2 says why).
func (h *Head) parse(b []byte) (int, error) {
	for {
		rest := b[h.at:]
		end := bytes.IndexByte(rest, '\n')
		switch {
		case end < 0 && !h.begun && len(rest) > maxTarget:
			return 0, errTarget
		case end < 0:
			return 0, nil
		case end == 0 || rest[end-1] != '\r':
			return 0, errLineEnd
		}
		line := rest[:end-1]
		h.at += end + 1
		switch {
		case !h.begun && len(line) == 0 && h.at == len("\r\n"):
			// One empty line before a request is what old clients send after a body (RFC 9112 §2.2).
		case !h.begun:
			if err := h.requestLine(line); err != nil {
				return 0, err
			}
			h.begun = true
		case len(line) == 0:
			return h.at, nil
		default:
			if err := h.field(line); err != nil {
				return 0, err
			}
		}
	}
}

// requestLine reads `METHOD SP TARGET SP HTTP/1.x` (RFC 9112 §3): single spaces, nothing around them.
func (h *Head) requestLine(line []byte) error {
	if len(line) > maxTarget {
		return errTarget
	}
	method, rest, ok := bytes.Cut(line, space)
	target, version, ok2 := bytes.Cut(rest, space)
	if !ok || !ok2 || !isToken(method) || len(target) == 0 {
		return errRequestLine
	}
	for _, c := range target {
		// A fragment never leaves a client (RFC 9112 §3.2); other bytes that a URL may not hold bare are encoded later.
		if c <= ' ' || c == 0x7f || c == '#' {
			return errRequestLine
		}
	}
	if len(version) != len("HTTP/1.1") || string(version[:7]) != "HTTP/1." {
		if len(version) == len("HTTP/1.1") && string(version[:5]) == "HTTP/" && isDigit(version[5]) && version[6] == '.' && isDigit(version[7]) {
			return errVersion
		}
		return errRequestLine
	}
	switch version[7] {
	case '0':
	case '1':
		h.Minor = 1
	default:
		return errVersion
	}
	h.Method, h.Target = method, target
	return nil
}

// field reads `NAME ":" OWS VALUE OWS` (RFC 9112 §5).
func (h *Head) field(line []byte) error {
	if len(h.Fields) == maxFields {
		return errFields
	}
	f, err := parseField(line)
	if err != nil {
		return err
	}
	h.count[f.Known]++ // no overflow: maxFields is below 256
	h.Fields = append(h.Fields, f)
	return nil
}

// parseField reads a line of a header or of a trailer. White space before the colon and folded lines are refused
// (RFC 9112 §5.1, §5.2), and so are the bytes that a value may not hold (RFC 9110 §5.5).
func parseField(line []byte) (Field, error) {
	colon := bytes.IndexByte(line, ':')
	if line[0] == ' ' || line[0] == '\t' {
		return Field{}, errFold
	}
	if colon <= 0 || !isToken(line[:colon]) {
		return Field{}, errFieldName
	}
	value := trim(line[colon+1:])
	for _, c := range value {
		if !valueByte[c] {
			return Field{}, errFieldValue
		}
	}
	name := line[:colon]
	return Field{Name: name, Value: value, Known: known(name)}, nil
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// known finds a field's name by its length first, which tells most others apart at once.
func known(name []byte) Known {
	for _, k := range knownByLength[min(len(name), len(knownByLength)-1)] {
		if equalFold(name, knownNames[k]) {
			return k
		}
	}
	return Other
}
