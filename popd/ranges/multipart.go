package ranges

// Multipart is an answer in several parts (RFC 9110 §14.6):
//
//	--BOUNDARY CRLF Content-Type: … CRLF Content-Range: … CRLF CRLF bytes CRLF
//	--BOUNDARY CRLF … CRLF
//	--BOUNDARY-- CRLF
type Multipart struct {
	Ranges   []Range
	Length   int64  // bytes of the whole body that the parts are of
	Type     string // its Content-Type; may be empty
	Boundary string // must not occur in the body: make it random
}

// ContentType is that of the answer.
func (m Multipart) ContentType() string { return "multipart/byteranges; boundary=" + m.Boundary }

// Before is what goes before part i.
func (m Multipart) Before(i int) string {
	s := "--" + m.Boundary + "\r\n"
	if i > 0 {
		s = "\r\n" + s
	}
	if m.Type != "" {
		s += "Content-Type: " + m.Type + "\r\n"
	}
	return s + "Content-Range: " + m.Ranges[i].ContentRange(m.Length) + "\r\n\r\n"
}

// After is what goes after the last part.
func (m Multipart) After() string { return "\r\n--" + m.Boundary + "--\r\n" }

// Size is the bytes of the answer's body.
func (m Multipart) Size() int64 {
	n := int64(len(m.After()))
	for i, r := range m.Ranges {
		n += int64(len(m.Before(i))) + r.Length
	}
	return n
}
