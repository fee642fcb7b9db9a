package wire

import "github.com/miekg/dns"

// MaxName is the size in bytes of the longest name on the wire (RFC 1035 §2.3.4).
const MaxName = 255

// AppendLower appends a name in the form in which names are compared. The bytes that count a label are below 64 and
// stay as they are.
func AppendLower(dst, name []byte) []byte {
	for _, b := range name {
		if b-'A' < 26 {
			b |= 0x20
		}
		dst = append(dst, b)
	}
	return dst
}

// Text is a name in presentation form, with its final dot and without needless escapes. The name must be well-formed.
func Text(name []byte) string {
	s, _, err := dns.UnpackDomainName(name, 0)
	if err != nil {
		return "."
	}
	return s
}

// AppendName appends a name given in presentation form, which must be a domain name of at most MaxName bytes.
func AppendName(dst []byte, text string) ([]byte, error) {
	var buf [MaxName + 1]byte
	n, err := dns.PackDomainName(text, buf[:], 0, nil, false)
	if err != nil {
		return dst, err
	}
	return append(dst, buf[:n]...), nil
}

// Parent is a name without its first label; the root's is the root. The name must be well-formed.
func Parent(name []byte) []byte {
	if name[0] == 0 {
		return name
	}
	return name[1+int(name[0]):]
}

// NameLen is the size in bytes of the uncompressed, well-formed name at the start of b.
func NameLen(b []byte) int {
	n := 0
	for b[n] != 0 {
		n += 1 + int(b[n])
	}
	return n + 1
}
