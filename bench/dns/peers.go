//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
)

// peer is a program of others: how it is set up in a folder of its own.
type peer struct {
	name   string
	binary string
	needs  string // a file that must be there besides; "" for none
	debian string // the package
	make   func(w *world, dir string, s *server) error
}

func peers() []peer {
	return []peer{
		{"gdnsd", "gdnsd", "", "gdnsd", gdnsd},
		{"knot", "knotd", "/usr/lib/*/knot/modules-*/geoip.so", "knot knot-module-geoip", knot},
		{"pdns", "pdns_server", "/usr/lib/*/pdns/libgeoipbackend.so", "pdns-server pdns-backend-geoip", pdns},
		{"nsd", "nsd", "", "nsd", nsd},
		{"coredns", "coredns", "", "none: make bench-dns builds it from the Go module proxy", coredns},
	}
}

// setUp writes a peer's files. A peer that is not there gives nil and the reason.
func (p peer) setUp(w *world, dir string) (*server, string, error) {
	path, err := exec.LookPath(p.binary)
	if err != nil {
		return nil, fmt.Sprintf("%s is not installed (Debian: %s)", p.binary, p.debian), nil
	}
	if found, _ := filepath.Glob(p.needs); p.needs != "" && len(found) == 0 && !strings.Contains(p.needs, "geoip.so") {
		return nil, fmt.Sprintf("%s is not there (Debian: %s)", p.needs, p.debian), nil
	}
	dir = filepath.Join(dir, p.name)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // nothing secret
		return nil, "", err
	}
	s := &server{name: p.name, can: ability{geo: true, ecs: true}, command: []string{path}}
	if s.addr, err = port(); err != nil {
		return nil, "", err
	}
	return s, "", p.make(w, dir, s)
}

// write writes files below a folder.
func write(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // nothing secret
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // nothing secret
			return err
		}
	}
	return nil
}

func read(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

func gdnsd(w *world, dir string, s *server) error {
	var zone, centres, continents, data strings.Builder
	zone.WriteString(read(w.zone))
	for n := range names {
		fmt.Fprintf(&zone, "geo%d %d DYNA geoip!all\n", n, ttlSteered)
	}
	of := map[string][]string{}
	for i, r := range regions() {
		fmt.Fprintf(&centres, " r%d,", i)
		fmt.Fprintf(&data, "        r%d => { addrs_v4 => [%v], addrs_v6 => [%v] }\n", i, centre(i, dns.TypeA), centre(i, dns.TypeAAAA))
		of[r.Continent] = append(of[r.Continent], fmt.Sprintf("%s => [r%d]", r.Country, i))
	}
	for continent, list := range of {
		fmt.Fprintf(&continents, "        %s => { %s }\n", continent, strings.Join(list, ", "))
	}
	all := strings.TrimSuffix(strings.TrimSpace(centres.String()), ",")
	s.command = append(s.command, "-c", dir, "-D", "start")
	return write(dir, map[string]string{
		"zones/" + strings.TrimSuffix(origin, "."): zone.String(),
		"config": fmt.Sprintf(`options => {
  listen => [ %v ], udp_threads => 1, tcp_threads => 1, run_dir => %s/run, state_dir => %s/state, edns_client_subnet => true
}
plugins => { geoip => {
  maps => { clients => {
      geoip2_db => %s, datacenters => [ %s ]
      map => {
        default => [ r0 ]
%s      }
  } }
  resources => { all => { map => clients, service_types => up, dcmap => {
%s  } } }
} }
`, s.addr, dir, dir, w.mmdb, all, continents.String(), data.String()),
		"run/keep": "", "state/keep": "",
	})
}

func knot(w *world, dir string, s *server) error {
	var geo strings.Builder
	for n := range names {
		fmt.Fprintf(&geo, "geo%d.%s:\n", n, origin)
		for i, r := range regions() {
			fmt.Fprintf(&geo, "  - geo: %q\n    A: %v\n    AAAA: %v\n", r.Country, centre(i, dns.TypeA), centre(i, dns.TypeAAAA))
		}
	}
	s.command = append(s.command, "-c", filepath.Join(dir, "knot.conf"))
	return write(dir, map[string]string{
		"geo.conf": geo.String(),
		"knot.conf": fmt.Sprintf(`server:
    listen: 127.0.0.1@%d
    rundir: %s
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    edns-client-subnet: on
database:
    storage: %s
mod-geoip:
  - id: all
    config-file: %s/geo.conf
    ttl: %d
    mode: geodb
    geodb-file: %s
    geodb-key: [ country/iso_code ]
zone:
  - domain: %s
    file: %s
    module: mod-geoip/all
    zonefile-load: whole
    zonefile-sync: -1
    journal-content: none
`, s.addr.Port(), dir, dir, dir, ttlSteered, w.mmdb, origin, w.plain),
	})
}

func pdns(w *world, dir string, s *server) error {
	name := strings.TrimSuffix(origin, ".")
	var z strings.Builder
	fmt.Fprintf(&z, "domains:\n- domain: %s\n  ttl: %d\n  records:\n    %s:\n", name, ttlStatic, name)
	fmt.Fprintf(&z, "    - soa: ns1.%s hostmaster.%s 1 3600 600 86400 300\n    - ns: ns1.%s\n    ns1.%s:\n    - a: 192.0.2.53\n", name, name, name, name)
	for n := range names {
		fmt.Fprintf(&z, "    static%d.%s:\n    - a: %v\n    - aaaa: '%v'\n", n, name, static(n, dns.TypeA), static(n, dns.TypeAAAA))
	}
	for i, r := range regions() {
		fmt.Fprintf(&z, "    %s.at.%s:\n    - a: {content: %v, ttl: %d}\n    - aaaa: {content: '%v', ttl: %d}\n",
			strings.ToLower(r.Country), name, centre(i, dns.TypeA), ttlSteered, centre(i, dns.TypeAAAA), ttlSteered)
	}
	z.WriteString("  services:\n")
	for n := range names {
		fmt.Fprintf(&z, "    geo%d.%s: ['%%cc.at.%s', 'de.at.%s']\n", n, name, name, name)
	}
	s.command = append(s.command, "--config-dir="+dir)
	return write(dir, map[string]string{
		"zones.yaml": z.String(),
		"pdns.conf": fmt.Sprintf(`launch=geoip
geoip-zones-file=%s/zones.yaml
geoip-database-files=mmdb:%s
local-address=127.0.0.1
local-port=%d
socket-dir=%s
edns-subnet-processing=yes
receiver-threads=1
distributor-threads=1
guardian=no
daemon=no
disable-syslog=yes
setuid=
setgid=
`, dir, w.mmdb, s.addr.Port(), dir),
	})
}

func nsd(w *world, dir string, s *server) error {
	s.can = ability{}
	s.command = append(s.command, "-d", "-c", filepath.Join(dir, "nsd.conf"))
	return write(dir, map[string]string{"nsd.conf": fmt.Sprintf(`server:
    ip-address: 127.0.0.1@%d
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: %q
    database: ""
    pidfile: "%s/nsd.pid"
    xfrdfile: "%s/xfrd.state"
    zonelistfile: "%s/zone.list"
    xfrdir: %q
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: %q
    zonefile: %q
`, s.addr.Port(), dir, dir, dir, dir, dir, origin, w.plain)})
}

// coredns wants a server block and a copy of the zone for each region.
func coredns(w *world, dir string, s *server) error {
	s.can.ecs = false // it steers by the option and sends none back
	files := map[string]string{}
	var conf strings.Builder
	block := func(name, view, zone string) {
		fmt.Fprintf(&conf, "%s:%d {\n    bind 127.0.0.1\n%s    file %s\n}\n", origin, s.addr.Port(), view, filepath.Join(dir, name))
		files[name] = zone
	}
	for i, r := range regions() {
		var zone strings.Builder
		zone.WriteString(read(w.zone))
		for n := range names {
			fmt.Fprintf(&zone, "geo%d %d A %v\ngeo%d %d AAAA %v\n", n, ttlSteered, centre(i, dns.TypeA), n, ttlSteered, centre(i, dns.TypeAAAA))
		}
		view := fmt.Sprintf("    geoip %s {\n        edns-subnet\n    }\n    metadata\n    view %s {\n        expr metadata('geoip/country/code') == '%s'\n    }\n", w.mmdb, r.Country, r.Country)
		block(r.Country+".zone", view, zone.String())
	}
	block("default.zone", "", read(w.plain))
	s.command = append(s.command, "-conf", filepath.Join(dir, "Corefile"))
	s.env = []string{"GOMAXPROCS=1"}
	files["Corefile"] = conf.String()
	return write(dir, files)
}
