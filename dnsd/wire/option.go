package wire

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// optSize is the size in bytes of an OPT record without options.
const optSize = 11

// Options writes the options of an OPT record. Each method appends one; End makes the record's length true.
type Options struct {
	out   []byte
	start int // of the record
}

// BeginOPT appends an OPT record without options (RFC 6891 §6.1.2). Rcode is the whole one; its upper bits are here.
func BeginOPT(out []byte, size uint16, rcode int, do bool) Options {
	start := len(out)
	var flags uint16
	if do {
		flags = 0x8000
	}
	out = append(out, 0, 0, byte(dns.TypeOPT), byte(size>>8), byte(size), byte(rcode>>4), 0, byte(flags>>8), byte(flags), 0, 0)
	return Options{out: out, start: start}
}

// Add appends an option; its value is the parts, one behind the other.
func (o *Options) Add(code uint16, a, b []byte) {
	n := len(a) + len(b)
	o.out = append(o.out, byte(code>>8), byte(code), byte(n>>8), byte(n))
	o.out = append(append(o.out, a...), b...)
}

// AddECS appends the answer to a client subnet: family, SOURCE and address echoed exactly (RFC 7871 §7.2.1), and the
// scope.
func (o *Options) AddECS(c *ECS, scope uint8) {
	head := [4]byte{byte(c.Family >> 8), byte(c.Family), c.Source, scope}
	o.Add(dns.EDNS0SUBNET, head[:], c.Address)
}

// End returns the packet with the finished record.
func (o *Options) End() []byte {
	binary.BigEndian.PutUint16(o.out[o.start+optSize-2:], uint16(len(o.out)-o.start-optSize))
	return o.out
}
