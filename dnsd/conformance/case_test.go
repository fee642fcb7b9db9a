package conformance

import (
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/txtar"
)

// zoneFile is one zone of the comparison.
type zoneFile struct {
	origin string // with the final dot
	text   string
}

func (z zoneFile) file() string { return "zone." + strings.TrimSuffix(z.origin, ".") }

// queryCase is one packet that every server gets.
type queryCase struct {
	group   string // the RFC it comes from, for the count
	what    string // for messages
	packet  []byte
	tcp     bool
	mayDrop bool // no answer is an answer, too
}

// written reads the cases of testdata: a file per RFC, with its zones (named after their origins) and a file "queries"
// of lines `NAME TYPE [option …]`; a comment names the section of the lines below it.
func written(t *testing.T) (zones []zoneFile, cases []queryCase) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		group := strings.TrimSuffix(path.Base(file), ".txtar")
		for _, f := range a.Files {
			if f.Name != "queries" {
				zones = append(zones, zoneFile{dns.Fqdn(f.Name), string(f.Data)})
				continue
			}
			section := ""
			for line := range strings.SplitSeq(string(f.Data), "\n") {
				if about, is := strings.CutPrefix(line, "#"); is {
					section = strings.TrimSpace(about)
				} else if strings.TrimSpace(line) != "" {
					c := parseCase(t, line, len(cases))
					c.group, c.what = group, section+": "+line
					cases = append(cases, c)
				}
			}
		}
	}
	return zones, cases
}

// parseCase reads `NAME TYPE [option …]`; the options are those of the switch.
func parseCase(t *testing.T, line string, id int) queryCase {
	t.Helper()
	words := strings.Fields(line)
	if len(words) < 2 {
		t.Fatalf("%q: want NAME TYPE", line)
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: uint16(id)}, Question: []dns.Question{{Name: words[0], Qtype: typeOf(t, words[1]), Qclass: dns.ClassINET}}}
	var c queryCase
	for _, option := range words[2:] {
		name, value, _ := strings.Cut(option, "=")
		n, err := strconv.Atoi(value)
		if value != "" && err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch name {
		case "tcp":
			c.tcp = true
		case "rd":
			m.RecursionDesired = true
		case "ad":
			m.AuthenticatedData = true
		case "cd":
			m.CheckingDisabled = true
		case "aa":
			m.Authoritative = true
		case "tc":
			m.Truncated = true
		case "z":
			m.Zero = true
		case "ra":
			m.RecursionAvailable = true
		case "rcode":
			m.Rcode = n
		case "opcode":
			m.Opcode, c.mayDrop = n, true
		case "class":
			m.Question[0].Qclass = uint16(n)
			c.mayDrop = true
		case "size":
			edns(m).SetUDPSize(uint16(n))
		case "do":
			edns(m).SetDo()
		case "version":
			edns(m).SetVersion(uint8(n))
		case "option":
			opt := edns(m)
			opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: uint16(n), Data: []byte("abcd")})
		case "flags":
			edns(m).Hdr.Ttl |= uint32(n)
		default:
			t.Fatalf("%q: unknown option %q", line, option)
		}
	}
	var err error
	if c.packet, err = m.Pack(); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return c
}

func edns(m *dns.Msg) *dns.OPT {
	if m.IsEdns0() == nil {
		m.SetEdns0(1232, false)
	}
	return m.IsEdns0()
}

func typeOf(t *testing.T, name string) uint16 {
	t.Helper()
	if n, ok := dns.StringToType[name]; ok {
		return n
	}
	n, err := strconv.Atoi(strings.TrimPrefix(name, "TYPE"))
	if err != nil {
		t.Fatalf("no record type %q", name)
	}
	return uint16(n)
}

func query(name string, qtype uint16, id int) *dns.Msg {
	return &dns.Msg{MsgHdr: dns.MsgHdr{Id: uint16(id)}, Question: []dns.Question{{Name: name, Qtype: qtype, Qclass: dns.ClassINET}}}
}

func describeQuery(m *dns.Msg) string {
	return fmt.Sprintf("%s %s", m.Question[0].Name, dns.Type(m.Question[0].Qtype))
}
