package mem

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// A header block is an answer's stored header as HTTP/1.1 sends it, so that a hit copies nothing:
//
//	Name: value CRLF …            sorted by name, a line for each value
//	Content-Length: N CRLF        last, unless the status allows none
//
// The status line and what is said anew of each hit (Age, Via, Cache-Status, Connection) are its sender's to add, and
// the empty line that ends a header.

// lengthField is the one field of a block that is the store's own.
const lengthField = "Content-Length"

// appendBlock writes the header block of an answer with a body of length bytes. It fails on a field that would break the
// message apart (RFC 9110 §5.5).
func appendBlock(dst []byte, status int, h http.Header, length int64) ([]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if name == lengthField {
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return dst, fmt.Errorf("store a header: field name %q is no token", name)
		}
		for _, v := range h[name] {
			if !httpguts.ValidHeaderFieldValue(v) {
				return dst, fmt.Errorf("store a header: field %s has the value %q", name, v)
			}
			dst = append(append(append(append(dst, name...), ": "...), v...), "\r\n"...)
		}
	}
	if status != http.StatusNoContent {
		dst = append(strconv.AppendInt(append(dst, lengthField+": "...), length, 10), "\r\n"...)
	}
	return dst, nil
}

// parseBlock reads a header block, Content-Length left out. The strings are copies.
func parseBlock(block []byte) http.Header {
	h := make(http.Header, bytes.Count(block, []byte("\r\n")))
	for line := range strings.SplitSeq(string(block), "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok && name != lengthField {
			h[name] = append(h[name], value)
		}
	}
	return h
}

// findField is the value on the first line of a field.
func findField(block []byte, name string) []byte {
	for len(block) > 0 {
		var line []byte
		line, block, _ = bytes.Cut(block, []byte("\r\n"))
		if len(line) > len(name)+1 && line[len(name)] == ':' && string(line[:len(name)]) == name {
			return line[len(name)+2:]
		}
	}
	return nil
}
