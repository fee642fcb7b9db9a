package popd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/site"
)

// certificateEvery is how often the files of certificates are looked at.
const certificateEvery = 10 * time.Second

// certificates are what the sites show to clients. A file that has changed is read again; one that cannot be used leaves
// what was before, and raises an alarm.
type certificates struct {
	log     *slog.Logger
	events  *event.Ring
	metrics *metrics

	mu  sync.Mutex // guards a change of set; held by use and watch
	set atomic.Pointer[certificateSet]
}

// certificateSet is what is in use. It is immutable.
type certificateSet struct {
	sites  []*site.Site // with TLS
	bySite map[string]*certificate
	byHost map[string][]*tls.Certificate
	only   []*tls.Certificate // those of the only site, for clients that name no host
	any    []*tls.Certificate // those of the site that answers for every host, for names that no other certificate has
}

// certificate is what one site shows, with what its files looked like.
type certificate struct {
	of      []site.TLS
	stamp   string
	pairs   []*tls.Certificate
	problem string // with the files as they are now; pairs are of before
}

func newCertificates(o Options, m *metrics) *certificates {
	c := &certificates{log: o.Logger, events: o.Events, metrics: m}
	c.set.Store(&certificateSet{})
	return c
}

// config is the TLS of public listeners. HTTP/2 goes to net/http; session tickets are crypto/tls's own.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.set.Load().choose(hello), nil
		},
	}
}

// choose is the first certificate for the host that the client can use, else the first, for the client to complain of. Nil
// makes crypto/tls send the alert unrecognized_name (RFC 6066 §3).
func (n *certificateSet) choose(hello *tls.ClientHelloInfo) *tls.Certificate {
	pairs := n.only
	if hello.ServerName != "" {
		if pairs = n.byHost[strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))]; pairs == nil {
			pairs = n.any
		}
	}
	for _, p := range pairs {
		if len(pairs) == 1 || hello.SupportsCertificate(p) == nil {
			return p
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	return pairs[0]
}

// prepare reads what the sites name, keeping what has not changed. It fails if there is a certificate that cannot be
// used and none to go on with.
func (c *certificates) prepare(sites []*site.Site) (*certificateSet, error) {
	old := c.set.Load()
	next := &certificateSet{bySite: map[string]*certificate{}, byHost: map[string][]*tls.Certificate{}}
	var errs []error
	for _, s := range sites {
		if len(s.TLS) == 0 {
			continue
		}
		next.sites = append(next.sites, s)
		have := old.bySite[s.Name]
		stamp := stampOf(s.TLS)
		if have != nil && slices.Equal(have.of, s.TLS) && have.stamp == stamp && have.problem == "" {
			next.add(s, have)
			continue
		}
		pairs, err := readPairs(s)
		switch {
		case err == nil:
			next.add(s, &certificate{of: s.TLS, stamp: stamp, pairs: pairs})
		case have != nil:
			next.add(s, &certificate{of: s.TLS, stamp: stamp, pairs: have.pairs, problem: err.Error()})
		default:
			errs = append(errs, err)
		}
	}
	return next, errors.Join(errs...)
}

func (n *certificateSet) add(s *site.Site, c *certificate) {
	n.bySite[s.Name] = c
	for _, h := range s.Hosts {
		for _, p := range c.pairs {
			if p.Leaf.VerifyHostname(h.Name) == nil {
				n.byHost[h.Name] = append(n.byHost[h.Name], p)
			}
		}
	}
	if len(s.Hosts) == 0 {
		n.any = c.pairs
	}
	if n.only = c.pairs; len(n.bySite) > 1 {
		n.only = nil
	}
}

// readPairs reads a site's certificates, which must be good for all the hosts that our POPs answer.
func readPairs(s *site.Site) ([]*tls.Certificate, error) {
	var pairs []*tls.Certificate
	for _, t := range s.TLS {
		p, err := readPair(t)
		if err != nil {
			return nil, fmt.Errorf("site %q: %w", s.Name, err)
		}
		pairs = append(pairs, p)
	}
	for _, h := range s.Hosts {
		named := slices.ContainsFunc(pairs, func(p *tls.Certificate) bool { return p.Leaf.VerifyHostname(h.Name) == nil })
		if !named && len(h.Targets) == 0 {
			return nil, fmt.Errorf("site %q: no certificate names host %q; add one, or serve the host from another site", s.Name, h.Name)
		}
	}
	return pairs, nil
}

// readPair reads a certificate and its key, which must belong together.
func readPair(t site.TLS) (*tls.Certificate, error) {
	chain, err := os.ReadFile(t.Certificate)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key := []byte(os.Getenv(t.Key.Env))
	if t.Key.File != "" {
		if key, err = os.ReadFile(t.Key.File); err != nil {
			return nil, fmt.Errorf("read the certificate's key: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %q with its key: %w", t.Certificate, err)
	}
	return &pair, nil
}

// stampOf tells one state of the files from another.
func stampOf(list []site.TLS) string {
	var b strings.Builder
	for _, t := range list {
		for _, file := range []string{t.Certificate, t.Key.File} {
			if info, err := os.Stat(file); err == nil {
				fmt.Fprintf(&b, "%s %d %d;", file, info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return b.String()
}

// until is when the first of them ends.
func (c *certificate) until() time.Time {
	first := c.pairs[0].Leaf.NotAfter
	for _, p := range c.pairs {
		if p.Leaf.NotAfter.Before(first) {
			first = p.Leaf.NotAfter
		}
	}
	return first
}

// use takes a set from prepare into use, and tells what is wrong with it where that is new.
func (c *certificates) use(next *certificateSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.set.Swap(next)
	refused := 0
	c.metrics.expiry.Reset()
	for name, cert := range next.bySite {
		c.metrics.expiry.WithLabelValues(name).Set(float64(cert.until().Unix()))
		was := old.bySite[name]
		if cert.problem != "" {
			refused++
		}
		switch {
		case was == nil || was.problem == cert.problem && slices.Equal(was.pairs, cert.pairs):
		case cert.problem != "":
			c.log.Error("a certificate cannot be used; the one before goes on", "site", name, "error", cert.problem)
			c.events.Add(event.Event{Kind: event.Config, Subject: "certificate of site " + name, State: "refused", Cause: cert.problem})
		default:
			c.log.Info("a certificate was renewed", "site", name, "until", cert.until())
			c.events.Add(event.Event{Kind: event.Config, Subject: "certificate of site " + name, State: "renewed"})
		}
	}
	c.metrics.badCertificates.Set(float64(refused))
}

// watch reads files that have changed until ctx is done.
func (c *certificates) watch(ctx context.Context) {
	t := time.NewTicker(certificateEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.refresh()
		}
	}
}

// refresh looks at the files once. An Apply meanwhile wins.
func (c *certificates) refresh() {
	old := c.set.Load()
	next, err := c.prepare(old.sites)
	if err != nil { // cannot be: each site has one to go on with
		c.log.Error("certificates cannot be read", "error", err)
		return
	}
	if c.set.Load() == old {
		c.use(next)
	}
}
