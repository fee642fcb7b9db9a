//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
)

// ours is catchment dnsd with everything on. The rate limit does its work for each answer, but its rate is above the
// load's, which comes from one address and would be cut to a few hundred answers a second otherwise.
func ours(name, binary string, w *world, dir string) (*server, error) {
	dir = filepath.Join(dir, name)
	config := filepath.Join(dir, "config")
	var site strings.Builder
	site.WriteString("origin: http://origin.bench.example\nhosts:\n")
	for n := range names {
		fmt.Fprintf(&site, "  geo%d.%s:\n    steer: geo\n    ttl: %ds\n    targets:\n", n, strings.TrimSuffix(origin, "."), ttlSteered)
		for i, r := range regions() {
			fmt.Fprintf(&site, "      r%d: {regions: [%s], addresses: [%v, \"%v\"]}\n", i, r.Country, centre(i, dns.TypeA), centre(i, dns.TypeAAAA))
		}
	}
	for file, text := range map[string]string{
		"bench.yaml": site.String(),
	} {
		path := filepath.Join(config, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // nothing secret
			return nil, err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // nothing secret
			return nil, err
		}
	}
	addr, err := port()
	if err != nil {
		return nil, err
	}
	return &server{
		name: name, can: ability{geo: true, ecs: true}, addr: addr,
		command: []string{
			binary, "dnsd", "--zone", strings.TrimSuffix(origin, ".") + "=" + w.zone, "--mmdb", w.mmdb, "--site", filepath.Join(config, "bench.yaml"),
			"--listen", addr.String(), "--rate-limit", "1000000", "--state", filepath.Join(dir, "state"),
		},
	}, nil
}
