package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/health/probe"
)

// StandaloneBGP is a speaker beside any service, from flags alone.
type StandaloneBGP struct {
	bgpd.StandaloneConfig

	ASN    uint32
	Listen []netip.AddrPort

	Probe                   string // http://…, dns://ADDR/NAME, tcp://ADDR, exec:COMMAND; empty for none
	Interval, Timeout, Rise time.Duration
	Fall                    int
	Lifeline                string // unix:PATH, tcp://ADDR or http://ADDR; empty for none
	Hold                    time.Duration

	State  string
	Admin  string // empty means admin.sock in State
	Logger *slog.Logger
	Ready  func([]string)
}

// Parse fills in what comes as text from the command line.
func (s *StandaloneBGP) Parse(routerID, peers, announce, nextHops, listen []string) error {
	var errs []error
	addr := func(flag, text string) netip.Addr {
		a, err := netip.ParseAddr(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: want an IP address", flag, text))
		}
		return a
	}
	c := &s.StandaloneConfig
	c.ASN, c.Hold = s.ASN, s.Hold
	for _, f := range []struct {
		flag string
		d    time.Duration
	}{{"--interval", s.Interval}, {"--timeout", s.Timeout}, {"--rise", s.Rise}} {
		if f.d <= 0 {
			errs = append(errs, fmt.Errorf("%s %v: want more than 0", f.flag, f.d))
		}
	}
	if s.Fall < 1 {
		errs = append(errs, fmt.Errorf("--fall %d: want at least 1", s.Fall))
	}
	if len(routerID) != 1 {
		errs = append(errs, errors.New("say once who we are: --router-id IPV4"))
	} else {
		c.RouterID = addr("--router-id", routerID[0])
	}
	for _, text := range peers {
		p, err := parsePeer(text)
		if err != nil {
			errs = append(errs, err)
		}
		c.Peers = append(c.Peers, p)
	}
	for _, text := range announce {
		p, err := netip.ParsePrefix(text)
		if err == nil && p != p.Masked() {
			err = fmt.Errorf("it has host bits set; did you mean %v?", p.Masked())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--announce %q: %w", text, err))
		}
		c.Announce = append(c.Announce, p)
	}
	for _, text := range nextHops {
		c.NextHops = append(c.NextHops, addr("--next-hop", text))
	}
	for _, text := range listen {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--listen %q: want IP:PORT", text))
		}
		s.Listen = append(s.Listen, a)
	}
	return errors.Join(errs...)
}

// parsePeer reads IP=ASN or IP:PORT=ASN.
func parsePeer(text string) (bgpd.StandalonePeer, error) {
	var p bgpd.StandalonePeer
	wrong := fmt.Errorf("--peer %q: want IP=ASN, or IP:PORT=ASN for another port than 179", text)
	where, asn, ok := strings.Cut(text, "=")
	n, err := strconv.ParseUint(asn, 10, 32)
	if !ok || err != nil {
		return p, wrong
	}
	p.ASN = uint32(n)
	if ap, err := netip.ParseAddrPort(where); err == nil {
		p.Address, p.Port = ap.Addr(), ap.Port()
		return p, nil
	}
	if p.Address, err = netip.ParseAddr(strings.Trim(where, "[]")); err != nil {
		return p, wrong
	}
	return p, nil
}

// parseTarget reads what --probe names.
func parseTarget(text string) (probe.Target, error) {
	if command, ok := strings.CutPrefix(text, "exec:"); ok {
		words := strings.Fields(command)
		if len(words) == 0 {
			return probe.Target{}, fmt.Errorf("--probe %q: want a program, as in exec:/usr/bin/true", text)
		}
		return probe.Exec(words[0], words[1:]...), nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return probe.Target{}, fmt.Errorf("--probe %q: want http://HOST/PATH, dns://ADDR:PORT/NAME, tcp://ADDR:PORT or exec:PROGRAM", text)
	}
	switch u.Scheme {
	case "http":
		return probe.HTTP(text), nil
	case "dns":
		return probe.DNSName(withPort(u, "53"), strings.Trim(u.Path, "/")+".", soaType), nil
	case "tcp":
		if u.Port() == "" {
			return probe.Target{}, fmt.Errorf("--probe %q: name the port: tcp://ADDR:PORT", text)
		}
		return probe.TCP(u.Host), nil
	}
	return probe.Target{}, fmt.Errorf("--probe %q: cannot ask by %q; want http, dns, tcp or exec", text, u.Scheme)
}

// soaType is the RR type SOA (RFC 1035 §3.2.2).
const soaType = 6

func withPort(u *url.URL, port string) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// parseLifeline reads what --lifeline names.
func parseLifeline(text string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok && path != "" || text == "" {
		return "unix", path, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && (u.Scheme != "tcp" || u.Port() == "") {
		return "", "", fmt.Errorf("--lifeline %q: want unix:PATH, tcp://ADDR:PORT or http://ADDR[:PORT]", text)
	}
	return "tcp", withPort(u, "80"), nil
}
