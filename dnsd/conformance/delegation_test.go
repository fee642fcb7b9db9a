//go:build linux

package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"

	"github.com/catchment-net/catchment/dnsd"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/testns"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// The way of a name, in a network namespace of the test's own, where port 53 is free:
//
//	client ──► unbound ──► root (NSD) ──► example (NSD) ──► shop.example: ns1 at POP ams, ns2 at POP nyc (ours)
const (
	rootServer   = "127.1.0.1"
	parentServer = "127.1.0.2"
	amsServer    = "127.3.0.1"
	nycServer    = "127.3.0.2"
	plainAddr    = "127.9.0.1" // unbound without ECS, in Berlin
	ecsAddr      = "127.9.0.2" // unbound with ECS, in Berlin, too
	berliner     = "127.10.0.1"
	newYorker    = "127.11.0.1"

	amsWeb = "203.0.113.1"
	nycWeb = "203.0.113.17"

	rootZone   = "$TTL 3600\n. SOA root. host.nic.example. 1 3600 600 86400 60\n. NS root.\nroot. A " + rootServer + "\nexample. NS ns.nic.example.\nns.nic.example. A " + parentServer + "\n"
	parentZone = "$TTL 3600\n@ SOA ns.nic host.nic 1 3600 600 86400 60\n@ NS ns.nic\nns.nic A " + parentServer + "\n" +
		"shop NS ns1.shop\nshop NS ns2.shop\nns1.shop A " + amsServer + "\nns2.shop A " + nycServer + "\n"
	shopZone = "$TTL 3600\n@ SOA ns1 host 1 3600 600 86400 60\n@ NS ns1\n@ NS ns2\nns1 A " + amsServer + "\nns2 A " + nycServer + "\n*.r A 198.51.100.7\nalias CNAME www\n"

	resolvedIn = 10 * time.Second // a client's patience
	afterLoss  = 40               // names that nobody has asked for before
)

// A zone that is delegated to two of our POPs resolves for everybody, with and without ECS, and goes on doing so when
// one of the POPs falls silent.
func TestDelegationThroughTheLossOfAPOP(t *testing.T) {
	for _, command := range []string{"unbound", "nsd"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("needs %s, Debian's package", command)
		}
	}
	if !testns.Inside(t) {
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	startNSD(t, rootServer, zoneFile{".", rootZone})
	startNSD(t, parentServer, zoneFile{"example.", parentZone})
	ams, _ := startPOP(t, "ams1", amsServer)
	nyc, stopNYC := startPOP(t, "nyc1", nycServer)
	startUnbound(t, plainAddr, false)
	startUnbound(t, ecsAddr, true)

	for _, c := range []struct{ resolver, client, name, want string }{
		{plainAddr, berliner, "www", amsWeb},
		{plainAddr, newYorker, "www", amsWeb}, // the resolver is in Berlin, and that is all we see
		{ecsAddr, berliner, "www", amsWeb},
		{ecsAddr, newYorker, "www", nycWeb},
		{ecsAddr, newYorker, "alias", nycWeb},
		{ecsAddr, berliner, "WwW", amsWeb},
		{plainAddr, berliner, "x.r", "198.51.100.7"},
	} {
		if got, err := lookup(t, c.resolver, c.client, c.name+".shop.example."); err != nil || got != c.want {
			t.Errorf("%s for %s by %s: %q, %v; want %s", c.name, c.client, c.resolver, got, err, c.want)
		}
	}

	stopNYC()
	silent, err := net.ListenPacket("udp", nycServer+":53") // nobody refuses: the POP is gone
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	lost := time.Now()
	ams.SetView(&health.View{POPs: map[string]health.POPView{"nyc": {Services: map[health.Service]health.ServiceView{health.Web: {State: health.Down}}}}})
	for _, resolver := range []string{plainAddr, ecsAddr} {
		var slowest time.Duration
		for i := range afterLoss {
			begin := time.Now()
			if got, err := lookup(t, resolver, berliner, fmt.Sprintf("after%d.r.shop.example.", i)); err != nil || got != "198.51.100.7" {
				t.Errorf("after the loss, name %d by %s: %q, %v", i, resolver, got, err)
			}
			slowest = max(slowest, time.Since(begin))
		}
		t.Logf("by %s: %d new names after the loss, the slowest took %v", resolver, afterLoss, slowest.Round(time.Millisecond))
	}
	for {
		got, err := lookup(t, ecsAddr, newYorker, "www.shop.example.")
		if err == nil && got == amsWeb {
			break
		}
		if time.Since(lost) > 3*resolvedIn {
			t.Fatalf("the New Yorker is still sent to %q (%v)", got, err)
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
	t.Logf("the New Yorker was at the other POP %v after the loss", time.Since(lost).Round(time.Millisecond))
	if ams.Requests() == 0 || nyc.Requests() == 0 {
		t.Errorf("ams answered %d queries, nyc %d; want both asked", ams.Requests(), nyc.Requests())
	}
}

// lookup asks a resolver as a client and returns the last address of the answer.
func lookup(t *testing.T, resolver, client, name string) (string, error) {
	t.Helper()
	c := dns.Client{Timeout: resolvedIn, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(client)}}}
	r, _, err := c.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(name, dns.TypeA), resolver+":53")
	if err != nil {
		return "", err
	}
	for _, rr := range r.Answer {
		if a, ok := rr.(*dns.A); ok {
			return a.A.String(), nil
		}
	}
	return dns.RcodeToString[r.Rcode], nil
}

func startNSD(t *testing.T, addr string, z zoneFile) {
	t.Helper()
	p := peers()[1]
	p.startAt(t, netip.AddrPortFrom(netip.MustParseAddr(addr), 53), []zoneFile{z})
}

// startPOP runs our name server as that node of the reference example's POPs.
func startPOP(t *testing.T, node, addr string) (*dnsd.Server, func()) {
	t.Helper()
	top := &topology.Topology{Name: "delegation", ASN: 64500, Anycast: topology.Anycast{Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}
	for i, at := range []string{"AMS", "NYC"} {
		place, _ := topology.City(at)
		p := &topology.POP{Name: strings.ToLower(at), Index: i, At: place, Capacity: 1000}
		p.Nodes = []*topology.Node{{Name: p.Name + "1", POP: p, Addrs: []netip.Addr{netip.MustParseAddr([]string{amsWeb, nycWeb}[i])}}}
		top.POPs = append(top.POPs, p)
	}
	ready := make(chan struct{})
	s, err := dnsd.New(dnsd.Options{Node: node, POP: node[:3], Listen: []string{addr + ":53"}, Ready: func([]string) { close(ready) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(dnsd.Config{
		Topology: top, Node: node, Geo: geo(t), Zones: []dnsd.ZoneSource{{Origin: "shop.example.", File: "zones/shop.example", Text: []byte(shopZone)}},
		Sites: []*site.Site{{Name: "shop", Hosts: []*site.Host{{Name: "www.shop.example", Steer: site.Geo, TTL: time.Second}}}},
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	<-ready
	return s, stop
}

// geo says who is where.
func geo(t *testing.T) *geodata.Sources {
	t.Helper()
	var rows []geodata.Row
	for prefix, at := range map[string]string{"127.9.0.0/16": "BER", "127.10.0.0/16": "BER", "127.11.0.0/16": "NYC"} {
		place, _ := topology.City(at)
		rows = append(rows, geodata.Row{Prefix: netip.MustParsePrefix(prefix), Country: place.Country, Continent: place.Continent, Lat: place.Lat, Lon: place.Lon})
	}
	var b bytes.Buffer
	if err := geodata.Build(&b, rows); err != nil {
		t.Fatal(err)
	}
	db, err := geodata.FromBytes(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return &geodata.Sources{Databases: []*geodata.DB{db}}
}

func startUnbound(t *testing.T, addr string, ecs bool) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "root.hints"), ". 3600000 NS root.\nroot. 3600000 A "+rootServer+"\n")
	modules := "    module-config: \"iterator\"\n"
	if ecs {
		modules = "    module-config: \"subnetcache iterator\"\n    send-client-subnet: 0.0.0.0/0\n    client-subnet-always-forward: yes\n"
	}
	conf := filepath.Join(dir, "unbound.conf")
	write(t, conf, fmt.Sprintf("server:\n    directory: %q\n    chroot: \"\"\n    username: \"\"\n    pidfile: \"\"\n    do-daemonize: no\n    use-syslog: no\n    verbosity: 1\n"+
		"    num-threads: 1\n    do-ip6: no\n    interface: %s\n    outgoing-interface: %s\n    access-control: 127.0.0.0/8 allow\n    do-not-query-localhost: no\n"+
		"    use-caps-for-id: yes\n    root-hints: root.hints\n%sremote-control:\n    control-enable: no\n", dir, addr, addr, modules))
	ended := startProcess(t, "unbound", dir, "unbound", "-d", "-c", conf)
	waitReady(t, server{"unbound", netip.AddrPortFrom(netip.MustParseAddr(addr), 53)}, "shop.example.", ended)
}
