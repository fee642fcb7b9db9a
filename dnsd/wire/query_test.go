package wire

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// packet joins hex fragments; blanks do not count.
func packet(tb testing.TB, parts ...string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

const (
	plain    = "1234 0100 0001 0000 0000 0000"
	withOPT  = "1234 0100 0001 0000 0000 0001"
	question = "03 57777a 02 6578 00 0001 0001" // Wwz.ex. A IN
	optHead  = "00 0029 04d0 00 00 0000"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		rule   string
		packet []byte
		want   error
	}{
		{"plain", packet(t, plain, question), nil},
		{"nothing", nil, ErrDrop},
		{"shorter than a header", packet(t, "1234 0100 0001"), ErrDrop},
		{"a response", packet(t, "1234 8100 0001 0000 0000 0000", question), ErrDrop},
		{"NOTIFY", packet(t, "1234 2000 0001 0000 0000 0000", question), ErrNotImpl},
		{"UPDATE without anything", packet(t, "1234 2800 0000 0000 0000 0000"), ErrNotImpl},
		{"RFC 9619: no question", packet(t, "1234 0100 0000 0000 0000 0000"), ErrFormat},
		{"RFC 9619: two questions", packet(t, "1234 0100 0002 0000 0000 0000", question, question), ErrFormat},
		{"no bytes for the question", packet(t, plain), ErrFormat},
		{"cut in the name", packet(t, plain, "03 5777"), ErrFormat},
		{"cut in the type", packet(t, plain, "03 57777a 00 00"), ErrFormat},
		{"compressed question", packet(t, plain, "c00c 0001 0001"), ErrFormat},
		{"reserved label type", packet(t, plain, "41 41 00 0001 0001"), ErrFormat},
		{"name of 255 octets", packet(t, plain, strings.Repeat("3f"+strings.Repeat("61", 63), 3), "3d", strings.Repeat("61", 61), "00 0001 0001"), nil},
		{"name of 256 octets", packet(t, plain, strings.Repeat("3f"+strings.Repeat("61", 63), 3), "3e", strings.Repeat("61", 62), "00 0001 0001"), ErrFormat},
		{"an answer in a query", packet(t, "1234 0100 0001 0001 0000 0000", question, "00 0001 0001 00000000 0004 01020304"), ErrFormat},
		{"authority in a query", packet(t, "1234 0100 0001 0000 0001 0000", question, "00 0001 0001 00000000 0004 01020304"), ErrFormat},
		{"IXFR carries its SOA, compressed", packet(t, "1234 0100 0001 0000 0001 0000", question, "c00c 0006 0001 00000000 0000"), ErrFormat}, // the question is for A
		{"pointer to the question", packet(t, "1234 0100 0001 0000 0001 0000", "00 00fb 0001", "c00c 0006 0001 00000000 0000"), nil},
		{"pointer forward", packet(t, "1234 0100 0001 0000 0001 0000", "00 00fb 0001", "c0ff 0006 0001 00000000 0000"), ErrFormat},
		{"IXFR carries its SOA, uncompressed", packet(t, "1234 0100 0001 0000 0001 0000", "00 00fb 0001", "00 0006 0001 00000000 0000"), nil},
		{"counted record that is not there", packet(t, withOPT, question), ErrFormat},
		{"OPT", packet(t, withOPT, question, optHead, "0000"), nil},
		{"two OPTs", packet(t, "1234 0100 0001 0000 0000 0002", question, optHead, "0000", optHead, "0000"), ErrFormat},
		{"OPT not at the root", packet(t, withOPT, question, "01 61 00 0029 04d0 00 00 0000 0000"), ErrFormat},
		{"OPT longer than the packet", packet(t, withOPT, question, optHead, "0004 0003"), ErrFormat},
		{"option longer than the OPT", packet(t, withOPT, question, optHead, "0005 0003 0004 00"), ErrFormat},
		{"half an option", packet(t, withOPT, question, optHead, "0002 0003"), ErrFormat},
		{"version 1: its options are not read", packet(t, withOPT, question, "00 0029 04d0 00 01 0000", "0002 0003"), nil},
		{"TSIG last", packet(t, withOPT, question, "01 6b 00 00fa 00ff 00000000 0000"), nil},
		{"TSIG before OPT", packet(t, "1234 0100 0001 0000 0000 0002", question, "01 6b 00 00fa 00ff 00000000 0000", optHead, "0000"), ErrFormat},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if err := new(Query).Parse(c.packet); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	var q Query
	err := q.Parse(packet(t, "1234 0110 0001 0000 0000 0001", question, "00 0029 1000 00 00 8000 0004 0003 0000"))
	if err != nil || q.ID != 0x1234 || Text(q.Name) != "Wwz.ex." || q.Type != dns.TypeA || !q.RD || !q.CD || !q.EDNS.DO || !q.EDNS.NSID || q.EDNS.Size != 4096 {
		t.Errorf("got %+v %+v %v", q, q.EDNS, err)
	}
}

func TestECS(t *testing.T) {
	for _, c := range []struct {
		rule, option string // after the code and the length
		want         error
		addr         string // "" for one that does not steer
	}{
		{"v4 /24", "0001 18 00 c63364", nil, "198.51.100.0"},
		{"v4 /27", "0001 1b 00 c6336460", nil, "198.51.100.96"},
		{"v4 /32", "0001 20 00 c6336407", nil, "198.51.100.7"},
		{"v6 /48", "0002 30 00 20010db800c1", nil, "2001:db8:c1::"},
		{"v6 /128", "0002 80 00 20010db800c100000000000000000001", nil, "2001:db8:c1::1"},
		{"SOURCE 0", "0001 00 00", nil, ""},
		{"SOURCE 0 of v6", "0002 00 00", nil, ""},
		{"unknown family", "0007 18 00 c63364", nil, ""},
		{"family 0, SOURCE 0", "0000 00 00", nil, ""},
		{"bits beyond SOURCE", "0001 19 00 c6336440", ErrFormat, ""},
		{"too few bytes", "0001 18 00 c633", ErrFormat, ""},
		{"too many bytes", "0001 18 00 c6336400", ErrFormat, ""},
		{"SOURCE 0 with an address", "0001 00 00 c6", ErrFormat, ""},
		{"SOURCE over 32", "0001 21 00 c633640700", ErrFormat, ""},
		{"SOURCE over 128", "0002 81 00 20010db800c10000000000000000000100", ErrFormat, ""},
		{"SCOPE in a query", "0001 18 18 c63364", ErrFormat, ""},
		{"SCOPE in a query of an unknown family", "0007 18 01 c63364", ErrFormat, ""},
		{"shorter than its head", "0001 18", ErrFormat, ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			value := packet(t, c.option)
			p := append(packet(t, withOPT, question, optHead), 0, byte(len(value)+4), 0, 8, 0, byte(len(value)))
			var q Query
			err := q.Parse(append(p, value...))
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err != nil {
				return
			}
			var want netip.Addr
			if c.addr != "" {
				want = netip.MustParseAddr(c.addr)
			}
			if got := q.EDNS.ECS.Addr(); got != want {
				t.Errorf("address %v, want %v", got, want)
			}
			value[3] = 9
			o := BeginOPT(nil, 1232, 0, false)
			o.AddECS(&q.EDNS.ECS, 9)
			if got := o.End()[optSize+4:]; string(got) != string(value) {
				t.Errorf("reply % x, want the same option with scope 9: % x", got, value)
			}
		})
	}
	twice := packet(t, withOPT, question, optHead, "0016", "0008 0007 0001 18 00 c63364", "0008 0007 0001 18 00 c63365")
	if err := new(Query).Parse(twice); !errors.Is(err, ErrFormat) {
		t.Errorf("two subnets: %v, want %v", err, ErrFormat)
	}
}

// What Parse takes, miekg/dns reads alike; what Parse refuses it never half reads into a wrong name.
func FuzzParse(f *testing.F) {
	f.Add(packet(f, plain, question))
	f.Add(packet(f, withOPT, question, optHead, "000b", "0008 0007 0001 18 00 c63364"))
	f.Add(packet(f, withOPT, question, "01 6b 00 00fa 00ff 00000000 0000"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var q Query
		if q.Parse(p) != nil {
			return
		}
		if !q.Asked {
			if q.EDNS.Cookie == nil {
				t.Fatal("a query without a question passes")
			}
			return
		}
		var m dns.Msg
		if m.Unpack(p) != nil {
			return // it looks into records that are not ours to judge
		}
		if m.Question[0].Name != Text(q.Name) || m.Question[0].Qtype != q.Type || m.Id != q.ID || m.RecursionDesired != q.RD {
			t.Errorf("we read %+v, miekg/dns %v", q, &m)
		}
		if opt := m.IsEdns0(); (opt != nil) != q.EDNS.Present || opt != nil && (opt.UDPSize() != q.EDNS.Size || opt.Do() != q.EDNS.DO) {
			t.Errorf("we read EDNS %+v, miekg/dns %v", q.EDNS, opt)
		}
	})
}
