//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// what a server can do of the work.
type ability struct {
	geo bool // steers; else the steered names are static ones in the first region
	ecs bool // by the client's subnet
}

// check asks a sample of the questions and returns the first answer that is wrong, or how many were right.
func check(server netip.AddrPort, questions []question, can ability, seed uint64) (int, error) {
	c, err := net.Dial("udp", server.String()) //nolint:noctx // it sends nothing yet
	if err != nil {
		return 0, err
	}
	defer c.Close()
	r := rand.New(rand.NewPCG(seed, 9))
	buf := make([]byte, 4096)
	right := 0
	for range sampleSize {
		q := questions[r.IntN(len(questions))]
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return right, err
		}
		if _, err := c.Write(q.packet); err != nil {
			return right, err
		}
		n, err := c.Read(buf)
		if err != nil {
			return right, fmt.Errorf("no answer: %w", err)
		}
		var m dns.Msg
		if err := m.Unpack(buf[:n]); err != nil {
			return right, fmt.Errorf("answer cannot be read: %w", err)
		}
		if err := q.check(&m, can); err != nil {
			return right, fmt.Errorf("%w:\n%v", err, &m)
		}
		right++
	}
	return right, nil
}

func (q question) check(m *dns.Msg, can ability) error {
	want := q.want
	if q.geo && !can.geo {
		want = centre(0, m.Question[0].Qtype)
	}
	var got netip.Addr
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			got, _ = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			got, _ = netip.AddrFromSlice(rr.AAAA)
		}
	}
	switch {
	case m.Rcode != q.rcode:
		return fmt.Errorf("rcode %s, want %s", dns.RcodeToString[m.Rcode], dns.RcodeToString[q.rcode])
	case got != want:
		return fmt.Errorf("address %v, want %v", got, want)
	case q.rcode == dns.RcodeNameError && len(m.Ns) == 0:
		return fmt.Errorf("NXDOMAIN without its SOA")
	case q.ecs && q.geo && can.ecs && scope(m) < 0:
		return fmt.Errorf("no client subnet in the answer")
	}
	return nil
}

func scope(m *dns.Msg) int {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_SUBNET); ok {
				return int(e.SourceScope)
			}
		}
	}
	return -1
}
