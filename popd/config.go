package popd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// config is a Config made ready for lookups. It is immutable.
type config struct {
	topology *topology.Topology
	node     *topology.Node // nil without a topology
	pop      string
	hosts    map[string]*site.Site
	tallies  map[*site.Site]*tally
	digests  map[*site.Site]string // of the rules by which each site's answers are keyed and kept
	any      *site.Site
	listens  addresses
	loopID   string // our name in CDN-Loop, the same on all nodes of the fleet
}

func newConfig(o Options, c Config) (*config, error) {
	n := &config{topology: c.Topology, pop: o.POP, hosts: map[string]*site.Site{}, any: c.Any, loopID: "catchment-" + o.Node}
	if c.Topology != nil {
		name := c.Node
		if name == "" {
			name = o.Node
		}
		if n.node = c.Topology.Node(name); n.node == nil {
			return nil, fmt.Errorf("node %q is not in topology %q", name, c.Topology.Name)
		}
		n.pop = n.node.POP.Name
		// Nodes of one fleet share the AS, whatever the folder is called that each of them loaded.
		n.loopID = fmt.Sprintf("catchment-as%d", c.Topology.ASN)
	}
	for _, s := range append(append([]*site.Site(nil), c.Sites...), c.Any) {
		if s == nil {
			continue
		}
		if err := n.claim(s); err != nil {
			return nil, err
		}
	}
	n.listens = listening(o, c.Topology, n.node, slices.ContainsFunc(c.Sites, func(s *site.Site) bool { return len(s.TLS) > 0 }))
	return n, n.digest()
}

// digest is what nodes compare before they believe each other's stored answers (design §5).
func (c *config) digest() error {
	c.digests = map[*site.Site]string{}
	for _, s := range c.sites() {
		text, err := json.Marshal([]any{keyRules(c, s), s.Cache})
		if err != nil {
			return fmt.Errorf("site %q: %w", s.Name, err)
		}
		sum := sha256.Sum256(text)
		c.digests[s] = hex.EncodeToString(sum[:8])
	}
	return nil
}

func (c *config) sites() []*site.Site {
	all := slices.Collect(maps.Values(c.hosts))
	if c.any != nil {
		all = append(all, c.any)
	}
	return all
}

func (c *config) claim(s *site.Site) error {
	for _, o := range s.Origins {
		if o.URL == nil || o.URL.Host == "" || o.URL.Scheme != "http" && o.URL.Scheme != "https" {
			return fmt.Errorf("site %q: origin %v: want an http or https URL", s.Name, o.URL)
		}
	}
	for _, h := range s.Hosts {
		if other, ok := c.hosts[h.Name]; ok {
			return fmt.Errorf("host %q: claimed by site %q and by site %q", h.Name, other.Name, s.Name)
		}
		c.hosts[h.Name] = s
	}
	return nil
}

// site finds who a Host header speaks of, and the host's name for keys and origins; nil if nobody here. The port of a
// site's host is dropped: the client chose it, and an origin that echoes it must not poison what others get.
func (c *config) site(hostHeader string) (s *site.Site, host string) {
	full := key.Host("", hostHeader)
	name := full
	if i := strings.LastIndexByte(full, ':'); i >= 0 && !strings.HasSuffix(full, "]") {
		name = full[:i]
	}
	if s := c.hosts[name]; s != nil && len(s.Origins) > 0 {
		return s, name
	}
	if c.any != nil && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._~[]:") == "" && name != "" {
		return c.any, full
	}
	return nil, ""
}

// isNamed reports whether a site may answer on a connection whose client named server in its TLS hello (SNI): its own
// host, or none. Two customers' sites share no connection, whatever a certificate covers: 421 sends the client to another
// one (RFC 9110 §15.5.20).
func (c *config) isNamed(server string, st *site.Site) bool {
	named := c.hosts[strings.ToLower(strings.TrimSuffix(server, "."))]
	return server == "" || named == st || named == nil && st == c.any
}
