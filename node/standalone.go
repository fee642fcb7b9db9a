package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/dnsd"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/health/probe"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/popd"
)

// StandaloneDNS is a name server from flags alone: zones, and no fleet.
type StandaloneDNS struct {
	Zones    []string // ORIGIN=FILE
	ZoneList string   // file with a line "ORIGIN FILE" for each zone; files are relative to it
	Listen   []string
	MMDB     string // with Dir: geodata for the sites' hosts
	Dir      string // a configuration whose sites are steered; empty for none
	Logger   *slog.Logger
	Ready    func([]string)
}

// NewStandaloneDNS reads the zones and wires the server; it opens nothing.
func NewStandaloneDNS(o StandaloneDNS) (*dnsd.Server, error) {
	if len(o.Listen) == 0 {
		return nil, errors.New("nothing to listen on: add --listen ADDR:PORT")
	}
	zones, err := readZones(o.Zones, o.ZoneList)
	if err != nil {
		return nil, err
	}
	conf := dnsd.Config{Zones: zones}
	if o.Dir != "" {
		snap, err := control.Load(o.Dir)
		if err != nil {
			return nil, err
		}
		conf.Topology, conf.Sites = snap.Topology, snap.Sites
	}
	if o.MMDB != "" {
		if conf.Geo, err = geodata.Open(o.MMDB); err != nil {
			return nil, err
		}
	}
	srv, err := dnsd.New(dnsd.Options{Node: "dnsd", Listen: o.Listen, Logger: o.Logger, Ready: o.Ready})
	if err != nil {
		return nil, err
	}
	return srv, srv.Apply(conf)
}

func readZones(flags []string, list string) ([]dnsd.ZoneSource, error) {
	var zones []dnsd.ZoneSource
	add := func(origin, file string) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read zone %q: %w", origin, err)
		}
		zones = append(zones, dnsd.ZoneSource{Origin: strings.TrimSuffix(origin, ".") + ".", File: file, Text: text})
		return nil
	}
	for _, f := range flags {
		origin, file, ok := strings.Cut(f, "=")
		if !ok || origin == "" || file == "" {
			return nil, fmt.Errorf("--zone %q: want ORIGIN=FILE", f)
		}
		if err := add(origin, file); err != nil {
			return nil, err
		}
	}
	if list == "" {
		return zones, nil
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return nil, fmt.Errorf("read zone list: %w", err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
			continue
		case len(words) != 2:
			return nil, fmt.Errorf("%s:%d: %q is not a zone; want a line `ORIGIN FILE`", list, i+1, line)
		}
		file := words[1]
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(list), file)
		}
		if err := add(words[0], file); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", list, i+1, err)
		}
	}
	return zones, nil
}

// StandaloneWeb is a caching reverse proxy from flags alone.
type StandaloneWeb struct {
	Origin string
	Listen []string
	Memory int64
	Logger *slog.Logger
	Ready  func([]string)
}

// NewStandaloneWeb wires the proxy; it opens nothing.
func NewStandaloneWeb(o StandaloneWeb) (*popd.Server, error) {
	if len(o.Listen) == 0 {
		return nil, errors.New("nothing to listen on: add --listen ADDR:PORT")
	}
	conf, err := popd.Standalone(o.Origin)
	if err != nil {
		return nil, err
	}
	srv, err := popd.New(popd.Options{Node: "popd", Public: o.Listen, Insecure: true, Memory: o.Memory, Logger: o.Logger, Ready: o.Ready})
	if err != nil {
		return nil, err
	}
	return srv, srv.Apply(conf)
}

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
		return errors.New("say once who we are: --router-id IPV4")
	}
	c.RouterID = addr("--router-id", routerID[0])
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

// Speaker is a standalone speaker with what tells it how its service is.
type Speaker struct {
	o       StandaloneBGP
	bgp     *bgpd.Server
	admin   *admin.Server
	prober  *probe.Prober
	mu      sync.Mutex // guards tracker, seq
	tracker *health.Tracker
	seq     uint64
}

// NewStandaloneBGP checks the flags and wires the speaker; it opens nothing.
func NewStandaloneBGP(o StandaloneBGP) (*Speaker, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	topo, name, neighbors, err := o.Build()
	if err != nil {
		return nil, err
	}
	ring := event.NewRing(event.Options{Node: name})
	s := &Speaker{o: o, tracker: health.NewTracker(health.TrackerOptions{Interval: o.Interval, Timeout: o.Timeout, Fall: o.Fall, Rise: o.Rise})}
	if o.Probe != "" {
		target, err := parseTarget(o.Probe)
		if err != nil {
			return nil, err
		}
		s.prober = probe.New(probe.Options{Target: target, Interval: o.Interval, Timeout: o.Timeout, Logger: o.Logger})
	}
	if _, _, err := parseLifeline(o.Lifeline); err != nil {
		return nil, err
	}
	if s.bgp, err = bgpd.New(bgpd.Options{
		Node: name, Neighbors: neighbors, NextHops: o.NextHops, Listen: o.Listen, Alone: true, Logger: o.Logger, Events: ring, Ready: o.Ready,
	}); err != nil {
		return nil, err
	}
	if err := s.bgp.Apply(topo); err != nil {
		return nil, err
	}
	if o.Admin == "" {
		o.Admin = filepath.Join(o.State, "admin.sock")
	}
	if s.admin, err = admin.New(admin.Options{Socket: strings.TrimPrefix(o.Admin, "unix:"), Logger: o.Logger}); err != nil {
		return nil, err
	}
	s.admin.Handle("GET /v1/events", admin.Events(ring).ServeHTTP)
	bgpRoutes(s.admin, s.bgp)
	return s, nil
}

// parseTarget reads what --probe names.
func parseTarget(text string) (probe.Target, error) {
	if command, ok := strings.CutPrefix(text, "exec:"); ok {
		words := strings.Fields(command)
		if len(words) == 0 {
			return probe.Target{}, fmt.Errorf("--probe %q: name a program behind exec:", text)
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
	if path, ok := strings.CutPrefix(text, "unix:"); ok || text == "" {
		return "unix", path, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", "", fmt.Errorf("--lifeline %q: want unix:PATH, tcp://ADDR:PORT or http://ADDR[:PORT]", text)
	}
	return "tcp", withPort(u, "80"), nil
}

// Run announces while the service is well, until ctx is done.
func (s *Speaker) Run(ctx context.Context) error {
	parts := []func(context.Context) error{part("bgpd", s.bgp.Run), part("admin", s.admin.Run)}
	if s.prober != nil {
		parts = append(parts, func(ctx context.Context) error {
			s.prober.Run(ctx, func(v health.Verdict) { s.note(func(now time.Time) health.Change { return s.tracker.Observe(now, v) }) })
			return nil
		})
	}
	if s.o.Lifeline != "" {
		parts = append(parts, s.holdLifeline)
	}
	if s.prober == nil {
		// Without a probe the lifeline alone says that the service lives; without either it is taken to live.
		if s.o.Lifeline == "" {
			s.note(s.good)
		}
	}
	return runAll(ctx, parts...)
}

func (s *Speaker) good(now time.Time) health.Change {
	s.tracker.Started(now)
	return s.tracker.Observe(now, health.Verdict{OK: true, Scheduled: now, Fired: now})
}

// note lets fn change the tracker's state and hands the result to the speaker.
func (s *Speaker) note(fn func(now time.Time) health.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	c := fn(now)
	if !c.Changed {
		return
	}
	s.seq++
	s.o.Logger.Info("service changed", "state", c.View.State.String(), "cause", c.View.Cause.Text)
	s.bgp.SetView(bgpd.StandaloneView(s.seq, now, c.View))
}

// holdLifeline keeps a connection to the service: its end is the service's death, known at once.
func (s *Speaker) holdLifeline(ctx context.Context) error {
	network, address, err := parseLifeline(s.o.Lifeline)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err == nil {
			s.note(func(now time.Time) health.Change {
				if s.prober != nil {
					return s.tracker.Started(now)
				}
				return s.good(now)
			})
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			_, err = io.Copy(io.Discard, conn)
			stop()
			conn.Close()
		}
		if ctx.Err() == nil {
			s.note(func(now time.Time) health.Change { return s.tracker.Hard(now, "the lifeline ended: "+errText(err)) })
		}
		select {
		case <-ctx.Done():
		case <-time.After(redialEvery):
		}
	}
	return nil
}

// Drain moves the clients away and returns when nothing is announced any more.
func (s *Speaker) Drain(ctx context.Context) error { return s.bgp.Drain(ctx) }

// bgpRoutes hangs the looking glass of a speaker on an admin socket.
func bgpRoutes(a *admin.Server, b *bgpd.Server) {
	a.Handle("GET /v1/bgp/neighbors", func(w http.ResponseWriter, _ *http.Request) { admin.Reply(w, b.Neighbors()) })
	a.Handle("GET /v1/bgp/rib", func(w http.ResponseWriter, r *http.Request) {
		var prefix netip.Prefix
		if text := r.URL.Query().Get("prefix"); text != "" {
			var err error
			if prefix, err = netip.ParsePrefix(text); err != nil {
				admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("prefix %q: %w", text, err), "give it as 192.0.2.0/24")
				return
			}
		}
		rib, err := b.RIB(prefix)
		if err != nil {
			admin.Refuse(w, http.StatusInternalServerError, err, "")
			return
		}
		admin.Reply(w, rib)
	})
}
