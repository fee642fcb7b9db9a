package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/underlay"
)

// maxMessage is the largest DNS message that is read, in bytes.
const maxMessage = 4096

// DNS asks our own name server at "IP:port" over UDP who it is (id.server. CH TXT, RFC 4892) and wants its name.
func DNS(address string) Target {
	return dnsTarget(address, dns.Question{Name: "id.server.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS})
}

// DNSName asks any name server at "IP:port" over UDP for a name that it serves (IN; dns.TypeSOA for a zone) and wants
// an answer of that type.
func DNSName(address, name string, qtype uint16) Target {
	return dnsTarget(address, dns.Question{Name: dns.Fqdn(name), Qtype: qtype, Qclass: dns.ClassINET})
}

func dnsTarget(address string, q dns.Question) Target {
	name := fmt.Sprintf("dns://%s/%s?type=%s", address, q.Name, dns.TypeToString[q.Qtype])
	return Target{name: name, ask: func(ctx context.Context, network underlay.Net, _ time.Duration) error {
		return askDNS(ctx, network, address, q)
	}}
}

func askDNS(ctx context.Context, network underlay.Net, address string, q dns.Question) error {
	conn, err := dial(ctx, network, "udp", address)
	if err != nil {
		return err
	}
	defer closing(ctx, conn)()
	query := &dns.Msg{MsgHdr: dns.MsgHdr{Id: dns.Id()}, Question: []dns.Question{q}}
	wire, err := query.Pack()
	if err != nil {
		return fmt.Errorf("pack question %q: %w", q.Name, err)
	}
	if _, err := conn.Write(wire); err != nil {
		return err
	}
	buf := make([]byte, maxMessage)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		var answer dns.Msg
		// A datagram that is not the answer to this question is somebody else's, or forged: wait on (RFC 5452 §9.1).
		if answer.Unpack(buf[:n]) == nil && matches(query, &answer) {
			return judgeDNS(&answer)
		}
	}
}

func matches(query, answer *dns.Msg) bool {
	if !answer.Response || answer.Id != query.Id || len(answer.Question) != 1 {
		return false
	}
	q, a := query.Question[0], answer.Question[0]
	return strings.EqualFold(q.Name, a.Name) && q.Qtype == a.Qtype && q.Qclass == a.Qclass
}

func judgeDNS(answer *dns.Msg) error {
	if answer.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("answer %s", dns.RcodeToString[answer.Rcode])
	}
	q := answer.Question[0]
	for _, rr := range answer.Answer {
		if h := rr.Header(); h.Rrtype == q.Qtype && h.Class == q.Qclass {
			return nil
		}
	}
	return errors.New("the answer holds no record of the type asked for")
}

// TCP connects to "host:port" and asks nothing. It is weak: the kernel completes the handshake of a process that is
// stopped or hangs, so prefer any probe that reads an answer.
func TCP(address string) Target {
	return Target{name: "tcp://" + address, ask: func(ctx context.Context, network underlay.Net, _ time.Duration) error {
		conn, err := dial(ctx, network, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}}
}
