package h1

import (
	"bytes"
	"strconv"
)

// judge decides what the head means: where the body ends, whom the request is for, what becomes of the connection. All
// that can be read in more than one way is refused, whoever may be right: a proxy in front of us may read it the other
// way (request smuggling, RFC 9112 §11.2).
func (h *Head) judge() error {
	if err := h.framing(); err != nil {
		return err
	}
	if err := h.host(); err != nil {
		return err
	}
	h.connection()
	if h.Has(Expect) {
		if v := h.One(Expect); !equalFold(v, "100-continue") {
			return errExpect
		}
		h.waits = h.length != 0 && h.Minor == 1 // HTTP/1.0 does not know 100 (RFC 9110 §10.1.1)
	}
	return nil
}

// framing finds the body's length (RFC 9112 §6.3). One Transfer-Encoding that says "chunked", or one Content-Length of
// digits; never both, never two.
func (h *Head) framing() error {
	if h.Has(TransferEncoding) {
		v := h.One(TransferEncoding)
		switch {
		case h.Has(ContentLength):
			return errBoth
		case h.Minor == 0:
			return errOldChunks
		case len(v) == 0 || bytes.IndexByte(v, ',') >= 0:
			return errEncoding
		case !equalFold(v, "chunked"):
			return errCoding
		}
		h.length = -1
		return nil
	}
	if !h.Has(ContentLength) {
		return nil
	}
	v := h.One(ContentLength)
	if len(v) == 0 || len(v) > 18 { // 18 digits fit an int64
		return errLength
	}
	for _, c := range v {
		if !isDigit(c) {
			return errLength
		}
		h.length = h.length*10 + int64(c-'0')
	}
	return nil
}

// host finds whom the request is for and holds the target to the form that goes with the method (RFC 9112 §3.2). A
// target that is a URL wins over Host, which must be valid nonetheless (§3.2.2, §3.2.3).
func (h *Head) host() error {
	if h.count[Host] > 1 || h.count[Host] == 0 && h.Minor == 1 {
		return errHost
	}
	h.Host = h.One(Host)
	if !validHost(h.Host) {
		return errHost
	}
	connect := string(h.Method) == "CONNECT"
	switch {
	case connect:
		if i := bytes.LastIndexByte(h.Target, ':'); i <= 0 || i == len(h.Target)-1 || !validHost(h.Target) {
			return errForm
		}
		h.Host, h.absolute = h.Target, true
	case h.Target[0] == '/':
	case len(h.Target) == 1 && h.Target[0] == '*':
		if string(h.Method) != "OPTIONS" {
			return errForm
		}
	default:
		_, rest, ok := bytes.Cut(h.Target, []byte("://"))
		scheme := h.Target[:max(0, len(h.Target)-len(rest)-len("://"))]
		if !ok || !equalFold(scheme, "http") && !equalFold(scheme, "https") {
			return errForm
		}
		end := bytes.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		// A user's name before the host is refused by validHost (RFC 9110 §4.2.4).
		if h.Host, h.absolute = rest[:end], true; len(h.Host) == 0 || !validHost(h.Host) {
			return errHost
		}
	}
	return nil
}

// validHost checks `host [":" port]` (RFC 9110 §7.2). The empty one is valid: it is nobody's.
func validHost(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	name, port := b, []byte(nil)
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return false
		}
		for _, c := range b[1:end] {
			if !isDigit(c) && c != ':' && c != '.' && (c|0x20 < 'a' || c|0x20 > 'f') {
				return false
			}
		}
		if name, port = nil, b[end+1:]; end == 1 || len(port) > 0 && port[0] != ':' {
			return false
		}
	} else if i := bytes.IndexByte(b, ':'); i >= 0 {
		if name, port = b[:i], b[i:]; i == 0 {
			return false
		}
	}
	for _, c := range name {
		if !hostByte[c] {
			return false
		}
	}
	if len(port) < 2 {
		return true // "host:" is allowed, and means the default
	}
	n, err := strconv.ParseUint(string(port[1:]), 10, 16)
	return err == nil && n > 0 && isDigit(port[1])
}

// connection reads Connection (RFC 9112 §9.3, RFC 9110 §7.6.1).
func (h *Head) connection() {
	keep := h.Minor == 1
	for i := range h.Fields {
		if h.Fields[i].Known != Connection {
			continue
		}
		for rest := h.Fields[i].Value; len(rest) > 0; {
			var name []byte
			name, rest, _ = bytes.Cut(rest, []byte(","))
			switch name = trim(name); {
			case len(name) == 0:
			case equalFold(name, "close"):
				h.close = true
			case equalFold(name, "keep-alive"):
				keep = true
			default:
				h.hopNames = true
			}
		}
	}
	h.close = h.close || !keep
}
