package master

import "io"

// lineReader counts lines as the zone parser consumes bytes, one by one: the library tells no record's line.
type lineReader struct {
	text  []byte
	off   int
	lines int // newlines before the last byte read
}

// Read is there for the parser's argument type; the parser prefers ReadByte.
func (r *lineReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

// ReadByte implements io.ByteReader.
func (r *lineReader) ReadByte() (byte, error) {
	if r.off > 0 && r.off <= len(r.text) && r.text[r.off-1] == '\n' {
		r.lines++
	}
	if r.off >= len(r.text) {
		r.off = len(r.text) + 1
		return 0, io.EOF
	}
	r.off++
	return r.text[r.off-1], nil
}

// line is the line that holds the last byte read: that on which the last record ends.
func (r *lineReader) line() int {
	if r.off > len(r.text) && len(r.text) > 0 && r.text[len(r.text)-1] == '\n' {
		return r.lines
	}
	return r.lines + 1
}
