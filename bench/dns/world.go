//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/geodata"
)

// The size of the world that all servers answer for.
const (
	origin     = "bench.example."
	names      = 333 // of each kind: steered, static, missing
	prefixes4  = 200_000
	prefixes6  = 50_000
	packets    = 20_000 // queries that the load takes in turn
	sampleSize = 2_000  // of them are checked before each timing
	ttlSteered = 20
	ttlStatic  = 300
)

// regions are where the clients are; each has a data centre of its own.
func regions() []geodata.Row {
	return []geodata.Row{
		{Country: "DE", Continent: "EU"},
		{Country: "FR", Continent: "EU"},
		{Country: "GB", Continent: "EU"},
		{Country: "US", Continent: "NA"},
		{Country: "CA", Continent: "NA"},
		{Country: "BR", Continent: "SA"},
		{Country: "AR", Continent: "SA"},
		{Country: "JP", Continent: "AS"},
		{Country: "IN", Continent: "AS"},
		{Country: "AU", Continent: "OC"},
		{Country: "ZA", Continent: "AF"},
	}
}

// centre is the address of a region's data centre.
func centre(region int, qtype uint16) netip.Addr {
	if qtype == dns.TypeAAAA {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xf0, byte(region), 15: 10})
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + region)})
}

// static is the address of the n-th static name.
func static(n int, qtype uint16) netip.Addr {
	if qtype == dns.TypeAAAA {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xaa, 14: byte(n >> 8), 15: byte(n)})
	}
	return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)})
}

// question is one query with the answer that is right.
type question struct {
	packet []byte
	geo    bool // depends on the client
	ecs    bool
	rcode  int
	want   netip.Addr // not valid: none
}

// world is what all servers are given and asked.
type world struct {
	mmdb      string
	zone      string // a master file without the steered names
	plain     string // one with them, all in the first region
	questions []question
}

// build makes the world in a folder, the same for a seed.
func build(dir string, seed uint64) (*world, error) {
	r := rand.New(rand.NewPCG(seed, 5))
	w := &world{mmdb: filepath.Join(dir, "geo.mmdb"), zone: filepath.Join(dir, "zone"), plain: filepath.Join(dir, "plain.zone")}
	rows := append(rows4(r), rows6(r)...)
	var b bytes.Buffer
	if err := geodata.Build(&b, rows); err != nil {
		return nil, err
	}
	head, steered := zoneText()
	for file, text := range map[string]string{w.mmdb: b.String(), w.zone: head, w.plain: head + steered} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // other users' servers read it
			return nil, err
		}
	}
	for range packets {
		q, err := ask(r, rows)
		if err != nil {
			return nil, err
		}
		w.questions = append(w.questions, q)
	}
	return w, nil
}

// rows4 fills IPv4 with disjoint networks of /18 to /24, each in one region.
func rows4(r *rand.Rand) []geodata.Row {
	all, taken := regions(), make([]bool, 1<<24)
	var rows []geodata.Row
	for len(rows) < prefixes4 {
		bits := 24 - min(r.IntN(12), 6)
		size := 1 << (24 - bits)
		at := (1<<16 + r.IntN(0xdf<<16)) &^ (size - 1) // 1.0.0.0 to 223.255.255.255
		if at>>16 == 127 || free(taken[at:at+size]) != size {
			continue
		}
		for i := range size {
			taken[at+i] = true
		}
		row := all[r.IntN(len(all))]
		row.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(at >> 16), byte(at >> 8), byte(at)}), bits)
		rows = append(rows, row)
	}
	return rows
}

func free(taken []bool) int {
	for i, t := range taken {
		if t {
			return i
		}
	}
	return len(taken)
}

// rows6 makes disjoint networks of /32 to /48 in 2400::/6.
func rows6(r *rand.Rand) []geodata.Row {
	all, taken := regions(), map[uint32]bool{}
	var rows []geodata.Row
	for len(rows) < prefixes6 {
		top := 0x24000000 + r.Uint32N(0x04000000)
		if taken[top] {
			continue
		}
		taken[top] = true
		var a [16]byte
		binary.BigEndian.PutUint32(a[:], top)
		bits := 32 + r.IntN(17)
		row := all[r.IntN(len(all))]
		row.Prefix = netip.PrefixFrom(netip.AddrFrom16(a), bits)
		rows = append(rows, row)
	}
	return rows
}

func zoneText() (head, steered string) {
	var h, s strings.Builder
	fmt.Fprintf(&h, "$ORIGIN %s\n$TTL %d\n@ SOA ns1 hostmaster 1 3600 600 86400 300\n@ NS ns1\nns1 A 192.0.2.53\n", origin, ttlStatic)
	for n := range names {
		fmt.Fprintf(&h, "static%d A %v\nstatic%d AAAA %v\n", n, static(n, dns.TypeA), n, static(n, dns.TypeAAAA))
		fmt.Fprintf(&s, "geo%d %d A %v\ngeo%d %d AAAA %v\n", n, ttlSteered, centre(0, dns.TypeA), n, ttlSteered, centre(0, dns.TypeAAAA))
	}
	return h.String(), s.String()
}

// ask makes one query: a third of each kind, A and AAAA as 60 to 40, half with a client subnet in a known network.
func ask(r *rand.Rand, rows []geodata.Row) (question, error) {
	q := question{ecs: r.IntN(2) == 0}
	qtype := dns.TypeA
	if r.IntN(10) < 4 {
		qtype = dns.TypeAAAA
	}
	n, region := r.IntN(names), 0
	m := new(dns.Msg)
	var name string
	if q.ecs {
		row := rows[r.IntN(len(rows))]
		for i, other := range regions() {
			if other.Country == row.Country {
				region = i
			}
		}
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{subnet(r, row.Prefix)}
	}
	switch r.IntN(3) {
	case 0:
		name, q.geo, q.want = fmt.Sprintf("geo%d", n), true, centre(region, qtype)
	case 1:
		name, q.want = fmt.Sprintf("static%d", n), static(n, qtype)
	default:
		name, q.rcode = fmt.Sprintf("missing%d", n), dns.RcodeNameError
	}
	opt := m.Extra
	m.SetQuestion(name+"."+origin, qtype)
	m.RecursionDesired, m.Extra = false, opt
	var err error
	q.packet, err = m.Pack()
	return q, err
}

// subnet is a client subnet within a network, as resolvers send it: /24 or /56.
func subnet(r *rand.Rand, p netip.Prefix) *dns.EDNS0_SUBNET {
	e := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24}
	a := p.Addr().AsSlice()
	if p.Addr().Is6() {
		e.Family, e.SourceNetmask = 2, 56
	}
	for bit := p.Bits(); bit < int(e.SourceNetmask); bit++ {
		a[bit/8] |= byte(r.IntN(2)) << (7 - bit%8)
	}
	e.Address = a
	return e
}
